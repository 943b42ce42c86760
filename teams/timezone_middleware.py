"""Shows times in the zone that the signed-in person chose in their profile."""

from collections.abc import Callable
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from teams.models import User

# Paths that are the same for everybody: their responses must not depend on a session.
IMPERSONAL: Final = ("/api/", "/static/", "/simple/", "/npm/")


class TimeZoneMiddleware:
    """Runs after Django's authentication. Skips the API, which answers in UTC, and paths without a signed-in user."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith(IMPERSONAL):
            return self.get_response(request)
        with timezone.override(_zone_of(request.user)):
            return self.get_response(request)


def _zone_of(person: object) -> ZoneInfo:
    try:
        return ZoneInfo(person.time_zone if isinstance(person, User) else "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
