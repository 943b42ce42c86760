"""The guarded way out for lower apps, which reach it through `settings.GUARDED_HTTP`."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings

from alerts.channels import http
from alerts.channels.base import ChannelError
from teams.errors import ApiError


def fetch(method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> http.Reply:
    """Send a request over https, and never to a private address unless the operator allows those.

    Raises ApiError 502 `unreachable`, with the reason, if there is no response.
    """
    if not (url.startswith("https://") or settings.ALLOW_PRIVATE_TARGETS):
        raise ApiError(502, "unreachable", "The address must start with https://.")
    try:
        return http.post(url, body, headers or {}, method=method)
    except ChannelError as error:
        raise ApiError(502, "unreachable", str(error)) from None
