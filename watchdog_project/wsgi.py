"""The web entry point: pages through all of Django's middleware, the API past what only pages need.

WSGI servers hand Django an empty body when a request is chunked (Django ticket 35838); `read_chunked` reads it
first, up to the largest body any path accepts, and gives it a length.
"""

import gc
import io
import os
from collections.abc import Callable, Iterable
from typing import Any, cast

import django
from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.http import HttpResponse

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "watchdog_project.settings")
django.setup(set_prefix=False)

from django.db import connection  # noqa: E402 - what follows reads the settings

from watchdog_project.checks import refuse_unsafe_start  # noqa: E402
from watchdog_project.health import start_edge_pulse  # noqa: E402
from watchdog_project.logs import RequestIdMiddleware  # noqa: E402

LARGEST_BODY = 1024 * 1024
API = "/api/v1/"
Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


class ApiHandler(BaseHandler):
    """Machines have keys: no session, cookie, form or page. Without all that, a heartbeat costs half as much.

    Nor are the signals sent that open and close a request: what listens to them, `release_connections` does.
    """

    def __init__(self) -> None:
        view: Any = convert_exception_to_response(self._get_response)  # type: ignore[attr-defined]
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        self._middleware_chain = convert_exception_to_response(RequestIdMiddleware(view))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        response = cast("HttpResponse", self.get_response(WSGIRequest(environ)))  # the API streams nothing
        body = response.content
        headers = {"Content-Length": str(len(body)), "X-Content-Type-Options": "nosniff", **response.headers}
        start_response(f"{response.status_code} {response.reason_phrase}", list(headers.items()))
        return [body]


def read_chunked(app: Wsgi) -> Wsgi:
    """Give a body without Content-Length one; of one over the limit a byte more is read, so that views answer 413."""

    def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not environ.get("CONTENT_LENGTH") and environ.get("wsgi.input_terminated"):
            body = environ["wsgi.input"].read(LARGEST_BODY + 1)
            environ["wsgi.input"] = io.BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
        return app(environ, start_response)

    return wrapped


def by_path(api: Wsgi, pages: Wsgi) -> Wsgi:
    """The API has a door of its own."""

    def chosen(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return (api if environ.get("PATH_INFO", "").startswith(API) else pages)(environ, start_response)

    return chosen


def release_connections(app: Wsgi) -> Wsgi:
    """Give the database connection back as soon as the answer is there.

    Django does so when the server closes the answer, which does not happen when the client has gone meanwhile: a few
    clients that time out would empty the pool.
    """

    def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        response = app(environ, start_response)
        if connection.connection is not None and not getattr(response, "streaming", False):
            connection.close_if_unusable_or_obsolete()
        return response

    return wrapped


application = read_chunked(release_connections(by_path(ApiHandler(), WSGIHandler())))

refuse_unsafe_start()
start_edge_pulse()

# What was loaded so far stays: the collector need not look through it again and again (a tenth of a beat's CPU).
gc.collect()
gc.freeze()
