"""Requests to identity providers. Owners choose those addresses, so each goes through the guarded door of the channels.

`alerts` has that door and imports `teams`, so it is looked up by a name in the settings.
"""

from __future__ import annotations

from typing import Any

import requests
from django.conf import settings
from django.utils.module_loading import import_string
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from teams.errors import ApiError

# Ours; the guarded client sets its own host, length and encoding.
_KEPT_HEADERS = ("accept", "authorization", "content-type")


def fetch(method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Any:
    """The response, with `status`, `body` and `headers`. Raises ApiError 502 `unreachable`, with the reason."""
    return import_string(settings.GUARDED_HTTP)(method, url, body, headers or {})


class GuardedTransport(BaseAdapter):
    """Sends what allauth requests."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        body: Any = request.body or b""
        data = body.encode() if isinstance(body, str) else bytes(body)
        headers = {name: str(value) for name, value in request.headers.items() if name.lower() in _KEPT_HEADERS}
        try:
            reply = fetch(str(request.method), str(request.url), data, headers)
        except ApiError as error:
            raise requests.ConnectionError(error.message, request=request) from None
        response = requests.Response()
        response.status_code, response._content = reply.status, reply.body
        response.headers = CaseInsensitiveDict({"content-type": "", **reply.headers})
        response.url, response.request = str(request.url), request
        return response

    def close(self) -> None:
        """Nothing is kept open here."""


def session() -> requests.Session:
    """A session that follows no redirects, uses no proxies and reaches no private address."""
    guarded = requests.Session()
    guarded.trust_env = False
    guarded.max_redirects = 0
    guarded.mount("https://", GuardedTransport())
    guarded.mount("http://", GuardedTransport())
    return guarded
