"""The web entry point.

WSGI servers hand Django an empty body when a request is chunked (Django ticket 35838); `read_chunked` reads it
first, up to the largest body any path accepts, and gives it a length.
"""

import io
import os
from collections.abc import Callable, Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "watchdog_project.settings")

LARGEST_BODY = 1024 * 1024
Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


def read_chunked(app: Wsgi) -> Wsgi:
    """Give a body without Content-Length one; of one over the limit a byte more is read, so that views answer 413."""

    def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not environ.get("CONTENT_LENGTH") and environ.get("wsgi.input_terminated"):
            body = environ["wsgi.input"].read(LARGEST_BODY + 1)
            environ["wsgi.input"] = io.BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
        return app(environ, start_response)

    return wrapped


application = read_chunked(get_wsgi_application())

from watchdog_project.checks import refuse_unsafe_start  # noqa: E402 - models can be imported only now
from watchdog_project.health import start_edge_pulse  # noqa: E402

refuse_unsafe_start()
start_edge_pulse()
