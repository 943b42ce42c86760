"""400, 404 and 500 responses when no view answers: JSON below the API, pages elsewhere."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.views import defaults

from teams.errors import ApiError

API = "/api/v1/"
# The longest host name that is repeated on a page.
MAX_HOST: Final = 253


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """For Django's `handler400`. A server that is asked under an unknown name says how to make it known."""
    if not isinstance(exception, DisallowedHost):
        return defaults.bad_request(request, exception)
    # Not `get_host`, which has just refused it. The page escapes it.
    context = {"host": request.META.get("HTTP_HOST", "")[:MAX_HOST], "base_url": settings.BASE_URL}
    return HttpResponse(render_to_string("unknown_host.html", context), status=400)


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
