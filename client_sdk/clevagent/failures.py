"""Which exceptions are failures. What was asked for, and what the program handles, is none. Pure."""

from __future__ import annotations

import signal

# Seconds. If the agent makes progress within this time after an exception, the program has handled it: it tried again,
# or took another way. tenacity and LangChain wait up to ten seconds between their first attempts.
RECOVERY_TIME = 15.0
# Cancellations that are ordinary exceptions, such as that of `concurrent.futures`, and the ends of iterators, queues.
_CONTROL_FLOW = (
    "CancelledError",
    "Cancelled",
    "StopIteration",
    "StopAsyncIteration",
    "QueueShutDown",
    "ShutDown",
    "EndOfStream",
    "EndOfChannel",
    "BdbQuit",
)
# Ordinary exceptions by which a program tells its framework to try again, wait, skip or stop, by package.
_OF_FRAMEWORKS = {
    "airflow": ("AirflowSkipException", "AirflowRescheduleException", "AirflowTaskTerminated"),
    "arq": ("Retry", "RetryJob"),
    "celery": ("Retry", "Ignore", "Reject"),
    "click": ("Abort",),
    "dramatiq": ("Retry", "Interrupt"),
    "huey": ("RetryTask", "CancelExecution", "TaskLockedException"),
    "langgraph": ("GraphBubbleUp",),
    "prefect": ("PrefectSignal",),
    "procrastinate": ("JobRetry",),
    "pydantic_ai": ("ModelRetry", "ToolRetryError", "CallDeferred", "ApprovalRequired", "SkipModelRequest"),
    "tenacity": ("TryAgain",),
    "typer": ("Abort",),
}
# Not ordinary exceptions either, though nobody asked for them: pyo3 raises it for a panic in Rust.
_PANICS = ("PanicException",)
# Statuses of a program that exits because of SIGINT or SIGTERM, as shells have them.
_ON_REQUEST = (None, 0, 128 + signal.SIGINT, 128 + signal.SIGTERM)


def is_purposeful(error: BaseException) -> bool:
    """Return whether somebody asked for it: a cancellation, the end of an iterator, an interrupt or a clean exit.

    A group is purposeful if everything in it is.
    """
    inner = getattr(error, "exceptions", None)
    if isinstance(inner, tuple) and inner:
        return all(isinstance(each, BaseException) and is_purposeful(each) for each in inner)
    kinds = type(error).__mro__
    if isinstance(error, SystemExit):
        return error.code in _ON_REQUEST
    if _comes_from(kinds, "click", ("Exit",)):
        return getattr(error, "exit_code", 1) in _ON_REQUEST
    if not isinstance(error, Exception):
        return type(error).__name__ not in _PANICS
    return _is_control_flow(kinds)


def _is_control_flow(kinds: tuple[type, ...]) -> bool:
    if any(kind.__name__ in _CONTROL_FLOW for kind in kinds):
        return True
    return any(_comes_from(kinds, package, names) for package, names in _OF_FRAMEWORKS.items())


def _comes_from(kinds: tuple[type, ...], package: str, names: tuple[str, ...]) -> bool:
    """Whether it is one of these exceptions of a package. By name, because nothing is imported for it."""
    return any(kind.__name__ in names and kind.__module__.partition(".")[0] == package for kind in kinds)
