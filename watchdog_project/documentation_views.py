"""`/docs/`: the files of `docs/` as pages, open to everybody. They are read and rendered once per process."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from typing import Final

from django.conf import settings
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_safe

from watchdog_project.documentation import Library, Size, build

IMAGE_MAX_AGE: Final = "public, max-age=3600"


@cache
def library() -> Library:
    """All of `docs/`. Requests are answered from it, so no address can lead to another file."""
    root = _root()
    texts = {file.relative_to(root).as_posix(): file.read_text("utf-8") for file in root.rglob("*.md")}
    return build(texts, images(), reverse("documentation"))


@cache
def images() -> dict[str, Size]:
    """The pictures of the pages, by their path within `docs/`."""
    root = _root()
    return {file.relative_to(root).as_posix(): _png_size(file) for file in root.rglob("*.png")}


@require_safe
def page(request: HttpRequest, slug: str = "") -> HttpResponse:
    """One page; with `?q=` what was found instead."""
    docs = library()
    query = request.GET.get("q", "").strip()[:200]
    context = {"contents": docs.contents, "query": query}
    if query:
        found = {"results": docs.search(query), "current": None}
        return TemplateResponse(request, "documentation/search.html", context | found)
    if slug not in docs.pages:
        raise Http404
    return TemplateResponse(request, "documentation/page.html", context | {"current": docs.pages[slug]})


@require_safe
def image(request: HttpRequest, name: str) -> FileResponse:
    """A picture of a page."""
    if name not in images():
        raise Http404
    return FileResponse((_root() / name).open("rb"), content_type="image/png", headers={"Cache-Control": IMAGE_MAX_AGE})


def _root() -> Path:
    return Path(settings.BASE_DIR) / "docs"


def _png_size(file: Path) -> Size:
    """Width and height stand at a fixed place of a PNG's header."""
    with file.open("rb") as opened:
        return Size(*struct.unpack(">II", opened.read(24)[16:24]))


urlpatterns: Final[list[URLPattern]] = [
    path("", page, name="documentation"),
    path("<path:name>.png", lambda request, name: image(request, f"{name}.png"), name="documentation_image"),
    path("<path:slug>/", page, name="documentation_page"),
]
