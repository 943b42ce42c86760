"""What a person or a key may see is not kept by browsers and proxies."""

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse

# What everybody may see and keep; such views say so themselves where it matters how long.
PUBLIC: Final = ("/docs/", "/npm/", "/opencode/", "/simple/")


class NoStoreMiddleware:
    """Views that say themselves how long their response may be kept are left alone."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if not request.path_info.startswith(PUBLIC) and "Cache-Control" not in response:
            response["Cache-Control"] = "no-store, private"
        return response
