"""Turns heartbeats into symbols: one per new tool call, one per message without calls. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from agents.rules.facts import BeatSeen
from agents.rules.loops import keys
from agents.rules.loops.state import Mark, Symbol

# Flags of a symbol.
CUT: Final = 1  # its arguments were cut
WAITS: Final = 2  # a poller, meant to be called repeatedly
READS: Final = 4  # fetches something, so a new result of the same call is new information
SAID: Final = 8  # a message, no call
HASHED: Final = 16  # the full arguments are known by their hash
RESULT: Final = 32  # the result is known by its hash
FAILED: Final = 64
TROUBLED: Final = 256  # of a pattern: recent messages mostly report problems
HIDDEN: Final = 512  # iterations without a call are around it, about which nothing is known
UNKNOWN: Final = 128  # neither arguments nor result were reported, so equal names may be different calls

MIN_WORDS: Final = 5
MAX_LOG: Final = 20
# fmt: off
_WAITING: Final = frozenset((
    "poll", "polls", "polling", "wait", "waits", "sleep", "status", "progress", "watch", "health", "heartbeat", "alive",
    "ready", "readiness", "ping",
))
_READING: Final = frozenset((
    "read", "get", "fetch", "list", "search", "find", "view", "show", "next", "previous", "scroll", "open", "cat",
    "head", "grep", "look", "query", "lookup", "page", "browse", "load", "receive", "pop", "dequeue", "recv", "tail",
    "ls", "observe", "screenshot", "snapshot",
))
# fmt: on
_PART = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+")
_WAITING_COMMAND = re.compile(
    r"""\s*(?:\{\s*"(?:command|cmd|code|script|input)"\s*:\s*")?\s*(?:sudo\s+)?"""
    r"""(?:sleep|tail|wait|watch|ps|top|jobs|pgrep|squeue|nvidia-smi|kubectl\s+(?:get|logs|describe|rollout\s+status)|"""
    r"""docker\s+(?:ps|logs)|systemctl\s+(?:status|is-active)|journalctl|gh\s+run)\b"""
)
_TROUBLE = re.compile(
    r"fail|error|unable|can(?:no|')t|couldn't|didn't|doesn't|not work|incorrect|wrong|problem|issue|invalid|missing|"
    r"not found|timed? ?out|refused|denied|stuck|trouble|mistake",
    re.IGNORECASE,
)
_ANEW = re.compile(
    r"again|still|persist|once more|retry|re-?try|same|another|yet|keeps?|repeat|remains?", re.IGNORECASE
)


def new_calls(beat: BeatSeen, known: Sequence[str], *, counts: bool, moved: bool) -> Sequence[Mapping[str, Any]]:
    """The calls of a heartbeat that no earlier one reported.

    The client's counter decides; a client that has sent one before (`counts`) and omits it made no calls. Without a
    counter the log covers the time since the last heartbeat, unless it begins with the end of the previous log
    (`known`): then it is a rolling log. An equal log is new only if something else `moved`.
    """
    if beat.counter is not None:
        return beat.calls[-beat.counter :] if beat.counter else ()
    if counts:
        return ()
    marks = log_marks(beat.calls)
    if marks == list(known):
        return beat.calls if moved else ()
    return beat.calls[_overlap(known, [keys.digest(*keys.of_call(call)) for call in beat.calls]) :]


def log_marks(calls: Sequence[Mapping[str, Any]]) -> list[str]:
    """The last calls of a log, for recognizing a rolling log."""
    return [keys.digest(*keys.of_call(call)) for call in calls[-MAX_LOG:]]


def _overlap(known: Sequence[str], marks: Sequence[str]) -> int:
    for length in range(min(len(known), len(marks)), 0, -1):
        if list(known[-length:]) == list(marks[:length]) and (length > 1 or length == len(known)):
            return length
    return 0


def of_call(call: Mapping[str, Any]) -> tuple[str, int]:
    """A call's key and flags."""
    args, result = call.get("args") or "", call.get("result_hash")
    flags = kind_of(call.get("name") or "", args)
    if call.get("args_hash"):
        flags |= HASHED
    elif not args:
        flags |= 0 if result else UNKNOWN
    elif len(args) >= keys.CUT_AT:
        flags |= CUT
    return "".join(keys.of_call(call)), flags | (RESULT if result else 0) | (FAILED if call.get("ok") is False else 0)


@lru_cache(maxsize=4_096)
def kind_of(name: str, args: str) -> int:
    """Whether a call waits or reads, judged by the words in its name, or by the command for a shell."""
    parts = {part.lower() for part in _PART.findall(name)}
    waits = bool(parts & _WAITING) or {"read", "output"} <= parts or bool(_WAITING_COMMAND.match(args))
    return (WAITS if waits else 0) | (READS if parts & _READING else 0)


def of_text(text: str) -> tuple[str, int]:
    key = keys.of_text(text, in_trouble=trouble(text) == 2)
    return key + key + keys.NONE, SAID


def is_speech(text: str) -> bool:
    return len(text.split(maxsplit=MIN_WORDS)) >= MIN_WORDS


@lru_cache(maxsize=1_024)
def trouble(text: str) -> int:
    """1 if a message says that something went wrong, 2 if it says so not for the first time, else 0."""
    if not _TROUBLE.search(text):
        return 0
    return 2 if _ANEW.search(text) else 1


def spread(actions: Sequence[tuple[str, int]], before: Mark, after: Mark) -> Iterator[Symbol]:
    """Spread a heartbeat's time, tokens and cost evenly over its actions, given as key and flags."""
    for number, (key, flags) in enumerate(actions, 1):
        left = 1 - number / len(actions)
        at = after.at - (after.at - before.at) * left
        tokens = after.tokens - round((after.tokens - before.tokens) * left)
        yield Symbol(key, flags, Mark(round(at, 2), tokens, after.cost - round((after.cost - before.cost) * left)))
