"""404 and 500 responses when no view answers: JSON below the API, pages elsewhere."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults

from teams.errors import ApiError

API = "/api/v1/"


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """For Django's `handler404`."""
    if not request.path_info.startswith(API):
        return defaults.page_not_found(request, exception)
    return _json(ApiError(404, "not_found", "Not found. See /api/docs for all endpoints."))


def server_error(request: HttpRequest) -> HttpResponse:
    """For Django's `handler500`. Details go to the log, not to the caller."""
    if not request.path_info.startswith(API):
        return defaults.server_error(request)
    return _json(
        ApiError(500, "server_error", "Internal server error. Details are in the server log. Try again later.")
    )


def _json(error: ApiError) -> JsonResponse:
    return JsonResponse(error.body(), status=error.http_status)
