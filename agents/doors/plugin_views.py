"""`/opencode/clevagent.js`: the plugin for opencode, with this server's address in it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

OPENCODE: Final = Path(__file__).parent / "plugins" / "opencode.js"


@require_safe
def opencode(request: HttpRequest) -> HttpResponse:
    return HttpResponse(_text(settings.BASE_URL), content_type="text/javascript; charset=utf-8")


@cache
def _text(server: str) -> str:
    return OPENCODE.read_text().replace("__SERVER__", server.rstrip("/"))
