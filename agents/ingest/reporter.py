"""Who reports: one short text that tells one reporter of a project from another."""

from __future__ import annotations

from django.http import HttpRequest

from teams.auth import Caller

LONGEST = 80


def source_of(request: HttpRequest, caller: Caller) -> str:
    """Key and address, and the runner's own name when it gives one, in at most 80 characters.

    `X-Forwarded-For` is whatever its sender wrote, so the address is that of the connection.
    """
    source = f"{caller.key_id}/{request.META.get('REMOTE_ADDR', '')}"
    named = request.META.get("HTTP_X_CLEVAGENT_RUNNER")
    if named:
        source += "/" + "".join(letter for letter in named if letter.isprintable())
    return source[:LONGEST]
