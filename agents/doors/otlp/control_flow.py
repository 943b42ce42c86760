"""Which ends of a span are no failure: instrumentations mark every exception as an error, also a cancellation. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

# By name, of Python's and JavaScript's libraries: cancellations, the ends of iterators, interrupts for a person.
_PURPOSEFUL: Final = re.compile(
    r"\w*Abort(?:ed)?(?:Error)?|Cancel\w*|GeneratorExit|KeyboardInterrupt|StopIteration|StopAsyncIteration"
    r"|Graph(?:Interrupt|BubbleUp)|NodeInterrupt|ParentCommand|CallDeferred|ApprovalRequired",
    re.IGNORECASE,
)
_EXIT: Final = "SystemExit"
_CLEAN_EXITS: Final = ("", "0", "None", "130", "143")
# How a status begins that only repeats its exception: `CancelledError: …`, `GraphInterrupt((…))`.
_NAMED: Final = re.compile(r"([\w.]+)\s*(?:[:(]|$)")


def is_control_flow(attributes: Mapping[str, Any], exceptions: Sequence[Mapping[str, Any]], message: str) -> bool:
    """Whether a span ended with an exception that somebody asked for.

    `exceptions` are the attributes of its exception events, of which the last counts, `message` is its status's.
    """
    last = exceptions[-1] if exceptions else {"exception.type": attributes.get("error.type")}
    kind = str(last.get("exception.type") or "") or _name_in(message)
    if _short(kind) == _EXIT:
        return str(last.get("exception.message", message)) in _CLEAN_EXITS
    return is_purposeful(kind)


def is_purposeful(kind: str) -> bool:
    """Whether an exception of this name, with or without its module, is a cancellation or the like."""
    return _PURPOSEFUL.fullmatch(_short(kind)) is not None


def _name_in(message: str) -> str:
    match = _NAMED.match(message)
    return match[1] if match else ""


def _short(kind: str) -> str:
    return kind.rpartition(".")[2]
