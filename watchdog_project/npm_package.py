"""`/npm/`: our TypeScript client, so agents can install it from the server they report to.

`clevagent.tgz` is for npm and Bun, the files themselves are for Deno, which imports by URL. The archive is built in
memory at the first request and is reproducible, so a lock file's hash holds on every process of one version.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from functools import cache, partial
from pathlib import Path
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.views.decorators.http import condition, require_safe

ARCHIVE: Final = "clevagent.tgz"
MANIFEST: Final = "package.json"
CONTENT_TYPES: Final = {
    ".tgz": "application/gzip",
    ".js": "text/javascript; charset=utf-8",
    ".ts": "application/typescript; charset=utf-8",
    ".json": "application/json",
}
TEXT: Final = "text/plain; charset=utf-8"


@cache
def files() -> dict[str, bytes]:
    """The files of the package by name: what its manifest lists, and the archive of them."""
    folder = settings.BASE_DIR / "client_sdk" / "typescript"
    names = [MANIFEST, *json.loads((folder / MANIFEST).read_text())["files"]]
    # The licence is the repository's.
    places = {name: folder / name if (folder / name).exists() else settings.BASE_DIR / name for name in names}
    content = {name: place.read_bytes() for name, place in places.items()}
    return {**content, ARCHIVE: _archive(content)}


def _archive(content: dict[str, bytes]) -> bytes:
    """As `npm pack` makes it: everything in a folder `package`. Without times and owners, which differ by checkout."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(content):
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content[name])
            archive.addfile(entry, io.BytesIO(content[name]))
    return gzip.compress(file.getvalue(), mtime=0)


@require_safe
@condition(etag_func=lambda request, name: _etag(name))
def download(request: HttpRequest, name: str) -> HttpResponse:
    """One file. Caches must revalidate, so a new version is visible at once."""
    content = files().get(name)
    if content is None:
        return _not_found(f"Install the client with: npm install {settings.BASE_URL}/npm/{ARCHIVE}\n")
    response = HttpResponse(content, content_type=CONTENT_TYPES.get(Path(name).suffix, TEXT))
    response["Cache-Control"] = "no-cache"
    if name.endswith(".js"):
        response["X-TypeScript-Types"] = f"./{name.removesuffix('.js')}.d.ts"  # where Deno finds the types
    return response


def _etag(name: str) -> str | None:
    content = files().get(name)
    return None if content is None else f'"{hashlib.sha256(content).hexdigest()[:32]}"'


_not_found = partial(HttpResponse, content_type=TEXT, status=404)

urlpatterns: Final[list[URLPattern]] = [path("<str:name>", download, name="npm_file")]
