"""Keys that compare tool calls: exactly, or ignoring times, request ids and word order. Pure."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

LENGTH: Final = 6
NONE: Final = "-" * LENGTH
# Clients and the server cut arguments here; the rest is unknown unless a hash of the full arguments was sent.
CUT_AT: Final = 200

_VALUE = r"""("[^"]*"|'[^']*'|[\w.+:-]+)"""
# Values that differ on every retry. Never page, offset, cursor, line or other ids: those are paging.
_VOLATILE = re.compile(
    r"""(\b(?:(?:request|trace|span|correlation|idempotency)[_-]?(?:id|key)|nonce|attempts?|retry|retries|retry_count)"""
    rf"""["']?\s*[:=]\s*){_VALUE}""",
    re.IGNORECASE,
)
_MOMENT = re.compile(
    r"""(?:\b([\w-]+)["']?\s*[:=]\s*["']?)?"""
    r"""(\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?|\b1[5-9]\d{8}(?:\d{3})?(?:\.\d+)?\b)"""
)
# A moving time window is paging, too.
_WINDOW = re.compile(r"since|until|from|to\b|start|end|begin|before|after|date|day|min|max|cursor|(?<!\w)id|_id", re.I)
_UUID = re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE)
_WORD = re.compile(r"[\w.]+")
_FILLERS: Final = frozenset(
    ("a", "an", "the", "of", "for", "to", "in", "on", "at", "and", "or", "with", "by", "all", "any", "about", "some")
)
_DIGITS = re.compile(r"\d+")
_BLANKS = re.compile(r"\s+")


def digest(*parts: str) -> str:
    """36 bits as text: among the forty or so that are kept, a collision is one in a billion."""
    raw = blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=6).digest()
    return urlsafe_b64encode(raw)[:LENGTH].decode()


def of_call(call: Mapping[str, Any]) -> tuple[str, str, str]:
    """The exact key, the soft key and the result's key, which is `NONE` where no result was reported."""
    return _keys(
        call.get("name") or "",
        call.get("args") or "",
        call.get("args_hash") or "",
        call.get("result_hash") or "",
        call.get("ok"),
    )


@lru_cache(maxsize=4_096)
def _keys(name: str, args: str, args_hash: str, result: str, ok: bool | None) -> tuple[str, str, str]:
    exact = digest(name, args_hash) if args_hash else digest(name, _canonical(args))
    cut = len(args) >= CUT_AT
    soft = exact if args_hash and (cut or not args) else digest(name, _masked(args, knows_result=bool(result)))
    outcome = digest(result, str(ok)) if result or ok is not None else NONE
    return exact, soft, outcome


def of_text(text: str, *, in_trouble: bool) -> str:
    """The key of a message. `Retry 3 failed` equals `Retry 4 failed`, but `page 3 done` differs from `page 2 done`."""
    plain = _BLANKS.sub(" ", text.strip().lower())
    return digest("say", _DIGITS.sub("#", plain) if in_trouble else plain)


def _canonical(args: str) -> str:
    """The arguments without differences in formatting: JSON key order, whitespace."""
    if args[:1] in ("{", "[") and len(args) < CUT_AT:
        try:
            return json.dumps(json.loads(args), sort_keys=True)
        except ValueError:
            pass
    return _BLANKS.sub(" ", args.strip())


def _masked(args: str, *, knows_result: bool) -> str:
    text = _VOLATILE.sub(r"\1#", args)
    text = _MOMENT.sub(_without_moment, text)
    if knows_result:
        # Another id with the same result is nothing new; without results it may be the next item of a batch.
        text = _UUID.sub("#", text)
    words = [word for word in _WORD.findall(text.lower()) if word not in _FILLERS]
    return " ".join(sorted(words))


def _without_moment(match: re.Match[str]) -> str:
    key = match.group(1)
    return match.group(0) if key and _WINDOW.search(key) else f"{key or ''} #"
