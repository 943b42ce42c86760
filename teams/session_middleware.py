"""Keeps the session of somebody who uses the server from ending."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from teams.sessions import SessionStore


class SessionUseMiddleware:
    """Pages that refresh themselves are no use: a tab that somebody forgot must not stay signed in."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        session = getattr(request, "session", None)
        if isinstance(session, SessionStore) and is_use(request):
            session.note_use(timezone.now())
        return response


def is_use(request: HttpRequest) -> bool:
    """Whether a person made the request, not a page's own refresh."""
    return not (request.method in ("GET", "HEAD") and request.headers.get("HX-Request") == "true")
