"""No name contains U+0000: PostgreSQL refuses texts with it, so asking it about one would fail."""

from collections.abc import Callable

from django.http import Http404, HttpRequest, HttpResponse


class NullCharacterMiddleware:
    """Answer 404 for paths with U+0000."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "\x00" in request.path_info:
            raise Http404("No name contains U+0000.")
        return self.get_response(request)
