"""What is answered where no view answers: the API's errors are JSON there, too."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults

from teams.errors import ApiError

API = "/api/v1/"


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """For Django's `handler404`."""
    if not request.path_info.startswith(API):
        return defaults.page_not_found(request, exception)
    return _json(ApiError(404, "not_found", "Nothing here by that address. GET /api/docs shows what there is."))


def server_error(request: HttpRequest) -> HttpResponse:
    """For Django's `handler500`. What went wrong is in the log, and not for the caller."""
    if not request.path_info.startswith(API):
        return defaults.server_error(request)
    return _json(ApiError(500, "server_error", "This server made a mistake; its log says which. Try again later."))


def _json(error: ApiError) -> JsonResponse:
    return JsonResponse(error.body(), status=error.http_status)
