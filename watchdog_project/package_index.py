"""`/simple/`: a package index with one project, our client, so agents can install it from the server they report to.

The wheel is built in memory from `client_sdk/` at the first request. The build is reproducible: every process builds
the same file, and its URL contains its hash, so it can be cached forever.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.views.decorators.http import condition, require_safe
from flit_core.wheel import WheelBuilder

PROJECT: Final = "clevagent"
# The earliest time a zip file can hold; file times differ between checkouts.
BUILT_AT: Final = (1980, 1, 1, 0, 0, 0)
JSON: Final = "application/vnd.pypi.simple.v1+json"
HTML: Final = "application/vnd.pypi.simple.v1+html"
# The first one is the default for `Accept: */*`.
CONTENT_TYPES: Final = ["text/html", HTML, JSON]
CACHE_FOREVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Wheel:
    """The client as pip installs it. `python` is `Requires-Python`, e.g. `>=3.9`."""

    name: str
    content: bytes
    sha256: str
    python: str

    @property
    def url(self) -> str:
        """Relative to the project's page."""
        return f"{self.sha256}/{self.name}"


@cache
def wheel() -> Wheel:
    """The wheel of `client_sdk`, built once per process."""
    file = io.BytesIO()
    project = settings.BASE_DIR / "client_sdk" / "pyproject.toml"
    builder: Any = WheelBuilder.from_ini_path(project, file)  # type: ignore[no-untyped-call]
    builder.source_time_stamp = BUILT_AT
    builder.build()
    content = file.getvalue()
    return Wheel(
        builder.wheel_filename, content, hashlib.sha256(content).hexdigest(), builder.metadata.requires_python or ""
    )


@require_safe
@condition(etag_func=lambda request: _etag(request, PROJECT))
def projects(request: HttpRequest) -> HttpResponse:
    """The projects of the index: only ours."""
    page = format_html('<a href="{}/">{}</a>', PROJECT, PROJECT)
    return _respond(request, page, {"projects": [{"name": PROJECT}]})


@require_safe
@condition(etag_func=lambda request, name: _etag(request, wheel().sha256) if name == PROJECT else None)
def project(request: HttpRequest, name: str) -> HttpResponse:
    """The files of a project: the wheel. Names are normalized like pip does: `Clev.Agent` becomes `clev-agent`."""
    normalized = re.sub(r"[-_.]+", "-", name).lower()
    if normalized != PROJECT:
        return _not_found(f"This index only has {PROJECT}. Install {name} from your usual index.")
    if name != normalized:
        return HttpResponseRedirect(reverse("simple_project", args=[normalized]))
    built = wheel()
    page = format_html(
        '<a href="{}#sha256={}" data-requires-python="{}">{}</a>', built.url, built.sha256, built.python, built.name
    )
    file = {
        "filename": built.name,
        "url": built.url,
        "hashes": {"sha256": built.sha256},
        "requires-python": built.python,
    }
    return _respond(request, page, {"name": PROJECT, "files": [file]})


@require_safe
def download(request: HttpRequest, sha256: str, filename: str) -> HttpResponse:
    """The wheel itself."""
    built = wheel()
    if (sha256, filename) != (built.sha256, built.name):
        return _not_found("This server now has another version. Query the index again.")
    return HttpResponse(
        built.content, content_type="application/octet-stream", headers={"Cache-Control": CACHE_FOREVER}
    )


def _etag(request: HttpRequest, content: str) -> str:
    return f'"{hashlib.sha256(f"{request.get_preferred_type(CONTENT_TYPES)} {content}".encode()).hexdigest()[:32]}"'


def _respond(request: HttpRequest, page: str, data: dict[str, Any]) -> HttpResponse:
    """Respond in the requested format. Caches must revalidate, so a new version is visible at once."""
    content_type = request.get_preferred_type(CONTENT_TYPES)
    headers = {"Cache-Control": "no-cache", "Vary": "Accept"}
    if content_type is None:
        return HttpResponse(
            f"Not acceptable. Available: {', '.join(CONTENT_TYPES)}.\n", "text/plain; charset=utf-8", 406
        )
    if content_type == JSON:
        return HttpResponse(json.dumps({"meta": {"api-version": "1.0"}, **data}), content_type, headers=headers)
    head = '<!DOCTYPE html>\n<html lang="en"><head><meta name="pypi:repository-version" content="1.0">'
    body = f"{head}<title>Packages</title></head><body>{page}</body></html>\n"
    return HttpResponse(body, f"{content_type}; charset=utf-8", headers=headers)


_not_found = partial(HttpResponse, content_type="text/plain; charset=utf-8", status=404)

urlpatterns: Final[list[URLPattern]] = [
    path("", projects, name="simple"),
    path(f"{PROJECT}/<slug:sha256>/<str:filename>", download, name="simple_download"),
    path("<str:name>/", project, name="simple_project"),
]
