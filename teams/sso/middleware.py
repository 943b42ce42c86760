"""Takes a provider's word for a second factor, for its own team and in the session that it began."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from teams.sso.enforcement import vouched_teams
from teams.timezone_middleware import IMPERSONAL


class SignOnMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(IMPERSONAL) and (teams := vouched_teams(request)):
            request.user.vouched_teams = teams  # type: ignore[union-attr]
        return self.get_response(request)
