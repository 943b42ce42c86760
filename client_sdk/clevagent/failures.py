"""Which exceptions are failures. What was asked for, and what the program handles, is none. Pure."""

from __future__ import annotations

# Seconds. If the agent makes progress within this time after an exception, the program has handled it: it tried again,
# or took another way. tenacity and LangChain wait up to ten seconds between their first attempts.
RECOVERY_TIME = 15.0
# Cancellations that are ordinary exceptions, such as that of `concurrent.futures`, and the ends of iterators.
_CONTROL_FLOW = ("CancelledError", "Cancelled", "StopIteration", "StopAsyncIteration")


def is_purposeful(error: BaseException) -> bool:
    """Return whether somebody asked for it: a cancellation, the end of an iterator, an interrupt or a clean exit.

    A group is purposeful if everything in it is.
    """
    inner = getattr(error, "exceptions", None)
    if isinstance(inner, tuple) and inner:
        return all(isinstance(each, BaseException) and is_purposeful(each) for each in inner)
    if isinstance(error, SystemExit):
        return error.code in (None, 0)
    return not isinstance(error, Exception) or any(kind.__name__ in _CONTROL_FLOW for kind in type(error).__mro__)
