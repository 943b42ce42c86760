"""The WSGI entry point: pages run all of Django's middleware, the API skips what only pages need.

WSGI servers hand Django an empty body when a request is chunked (Django ticket 35838); `read_chunked` reads it
first, up to the largest body that its path accepts, and sets the length.
"""

import gc
import io
import os
from collections.abc import Callable, Iterable
from typing import Any, cast

import django
import sentry_sdk
from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.http import HttpResponse

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "watchdog_project.settings")
django.setup(set_prefix=False)

from django.conf import settings  # noqa: E402 - these imports read the settings
from django.db import connection  # noqa: E402

from agents.ingest import shared_counts  # noqa: E402
from watchdog_project.checks import refuse_unsafe_start  # noqa: E402
from watchdog_project.forwarding import behind_proxies, below_prefix, networks  # noqa: E402
from watchdog_project.health import start_edge_pulse  # noqa: E402
from watchdog_project.logs import RequestIdMiddleware  # noqa: E402
from watchdog_project.no_store_middleware import NoStoreMiddleware  # noqa: E402
from watchdog_project.null_character_middleware import NullCharacterMiddleware  # noqa: E402

MAX_BODY = 1024 * 1024
# Telemetry comes in larger bodies than anything else; hooks of coding agents send whole files.
MAX_TELEMETRY = 64 * 1024 * 1024
TELEMETRY = ("/v1/", "/otlp/v1/", "/api/public/otel/", "/hooks/", "/beta/")
PINGS = "/ping/"
# What programs call: with a key in the header or the path, and nothing that only pages need.
API = ("/api/v1/", *TELEMETRY, PINGS, "/metrics", "/mcp")
Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


def max_body(path: str) -> int:
    """The largest body in bytes that a path accepts."""
    return MAX_TELEMETRY if path.startswith(TELEMETRY) else MAX_BODY


class ApiHandler(BaseHandler):
    """API callers have keys: no sessions, cookies, forms or pages. Without those, a heartbeat costs half as much.

    Django's request signals are not sent either; `release_connections` does the work of their one receiver.
    """

    def __init__(self) -> None:
        view: Any = convert_exception_to_response(self._get_response)  # type: ignore[attr-defined]
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        named: Any = convert_exception_to_response(NullCharacterMiddleware(view))
        self._middleware_chain = convert_exception_to_response(RequestIdMiddleware(NoStoreMiddleware(named)))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        response = cast("HttpResponse", self.get_response(WSGIRequest(environ)))  # the API streams nothing
        body = response.content
        headers = {"Content-Length": str(len(body)), "X-Content-Type-Options": "nosniff", **response.headers}
        start_response(f"{response.status_code} {response.reason_phrase}", list(headers.items()))
        return [body]


def read_chunked(app: Wsgi) -> Wsgi:
    """Set Content-Length for chunked bodies. Reads one byte past the limit, so that views answer 413."""

    def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not environ.get("CONTENT_LENGTH") and environ.get("wsgi.input_terminated"):
            body = environ["wsgi.input"].read(max_body(environ.get("PATH_INFO", "")) + 1)
            environ["wsgi.input"] = io.BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
        return app(environ, start_response)

    return wrapped


def by_path(api: Wsgi, pages: Wsgi) -> Wsgi:
    """Route API requests past the page middleware."""

    def route(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return (api if environ.get("PATH_INFO", "").startswith(API) else pages)(environ, start_response)

    return route


def isolated(app: Wsgi) -> Wsgi:
    """Give each API request a scope of its own in error reports; pages get theirs from Sentry's Django integration."""

    def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with sentry_sdk.isolation_scope():
            return app(environ, start_response)

    return wrapped if settings.SENTRY_DSN else app


def release_connections(app: Wsgi) -> Wsgi:
    """Return the database connection to the pool as soon as the response is ready.

    Django returns it when the server closes the response, which granian skips if the client has disconnected: a few
    clients that time out would exhaust the pool.
    """

    def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        response = app(environ, start_response)
        if connection.connection is not None and not getattr(response, "streaming", False):
            connection.close_if_unusable_or_obsolete()
        return response

    return wrapped


routed = read_chunked(release_connections(by_path(isolated(ApiHandler()), WSGIHandler())))
TRUSTED = networks(settings.TRUSTED_PROXIES)
application = behind_proxies(below_prefix(routed, settings.FORCE_SCRIPT_NAME or ""), TRUSTED)

refuse_unsafe_start()
start_edge_pulse()
shared_counts.start()

# Exempt what is loaded so far from garbage collection: scanning it takes a tenth of a heartbeat's CPU time.
gc.collect()
gc.freeze()
