"""`/simple/`: a package index with one project, our client, so that agents install it from the server they report to.

The wheel is made of the sources beside us, in memory, when it is first asked for. Nothing in it depends on where or
when: every process makes the same one, and its address names its hash, so it may be kept for ever.
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
# The oldest that a zip file knows; the sources' own times differ from one checkout to the next.
BUILT_AT: Final = (1980, 1, 1, 0, 0, 0)
JSON: Final = "application/vnd.pypi.simple.v1+json"
HTML: Final = "application/vnd.pypi.simple.v1+html"
# Whoever takes anything gets what a browser shows.
OFFERED: Final = ["text/html", HTML, JSON]
FOR_EVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Wheel:
    """The client as pip installs it. `python` is the versions it runs on, e.g. `>=3.9`."""

    name: str
    content: bytes
    sha256: str
    python: str

    @property
    def address(self) -> str:
        """Below the project's page."""
        return f"{self.sha256}/{self.name}"


@cache
def wheel() -> Wheel:
    """The wheel of `client_sdk`, made once a process."""
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
@condition(etag_func=lambda request: _tag(request, PROJECT))
def projects(request: HttpRequest) -> HttpResponse:
    """All projects of the index: one."""
    page = format_html('<a href="{}/">{}</a>', PROJECT, PROJECT)
    return _answer(request, page, {"projects": [{"name": PROJECT}]})


@require_safe
@condition(etag_func=lambda request, name: _tag(request, wheel().sha256) if name == PROJECT else None)
def project(request: HttpRequest, name: str) -> HttpResponse:
    """The files of a project: one. Names are as pip reads them: `Clev.Agent` would be `clev-agent`."""
    normal = re.sub(r"[-_.]+", "-", name).lower()
    if normal != PROJECT:
        return _missing(f"This index holds {PROJECT} only. Install {name} from the index you use otherwise.")
    if name != normal:
        return HttpResponseRedirect(reverse("simple_project", args=[normal]))
    made = wheel()
    page = format_html(
        '<a href="{}#sha256={}" data-requires-python="{}">{}</a>', made.address, made.sha256, made.python, made.name
    )
    file = {
        "filename": made.name,
        "url": made.address,
        "hashes": {"sha256": made.sha256},
        "requires-python": made.python,
    }
    return _answer(request, page, {"name": PROJECT, "files": [file]})


@require_safe
def download(request: HttpRequest, sha256: str, filename: str) -> HttpResponse:
    """The wheel itself."""
    made = wheel()
    if (sha256, filename) != (made.sha256, made.name):
        return _missing("This server has another version by now. Ask the index again.")
    return HttpResponse(made.content, content_type="application/octet-stream", headers={"Cache-Control": FOR_EVER})


def _tag(request: HttpRequest, content: str) -> str:
    return f'"{hashlib.sha256(f"{request.get_preferred_type(OFFERED)} {content}".encode()).hexdigest()[:32]}"'


def _answer(request: HttpRequest, page: str, facts: dict[str, Any]) -> HttpResponse:
    """In the form that was asked for. It may be kept and must be asked for again: a new version shows at once."""
    kind = request.get_preferred_type(OFFERED)
    headers = {"Cache-Control": "no-cache", "Vary": "Accept"}
    if kind is None:
        return HttpResponse(f"Ask for one of: {', '.join(OFFERED)}.\n", "text/plain; charset=utf-8", 406)
    if kind == JSON:
        return HttpResponse(json.dumps({"meta": {"api-version": "1.0"}, **facts}), kind, headers=headers)
    head = '<!DOCTYPE html>\n<html lang="en"><head><meta name="pypi:repository-version" content="1.0">'
    body = f"{head}<title>Packages</title></head><body>{page}</body></html>\n"
    return HttpResponse(body, f"{kind}; charset=utf-8", headers=headers)


_missing = partial(HttpResponse, content_type="text/plain; charset=utf-8", status=404)

urlpatterns: Final[list[URLPattern]] = [
    path("", projects, name="simple"),
    path(f"{PROJECT}/<slug:sha256>/<str:filename>", download, name="simple_download"),
    path("<str:name>/", project, name="simple_project"),
]
