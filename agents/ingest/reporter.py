"""Identifies the reporter of a heartbeat within its project, as one short text."""

from __future__ import annotations

from typing import Final

from django.http import HttpRequest

from teams.auth import Caller

MAX_LENGTH: Final = 80


def source_of(caller: Caller, address: str, runner: str) -> str:
    """API key and address, plus the runner's own name if it sends one, in at most 80 characters.

    The address is the connection's, or what a trusted proxy says (`TRUSTED_PROXIES`): a sender can write anything into
    `X-Forwarded-For`.
    """
    source = f"{caller.key_id}/{address}"
    if runner:
        source += "/" + "".join(letter for letter in runner if letter.isprintable())
    return source[:MAX_LENGTH]


def sender_of(request: HttpRequest, caller: Caller) -> str:
    """`source_of` a Django request."""
    headers = request.META
    return source_of(caller, headers.get("REMOTE_ADDR", ""), headers.get("HTTP_X_CLEVAGENT_RUNNER", ""))
