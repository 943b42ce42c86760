"""The OpenAPI schema, made once per process: it takes a second, and anyone may ask for it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request


@lru_cache(maxsize=1)
def _schema() -> Any:
    return SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]


@lru_cache(maxsize=8)
def _rendered(renderer: Any) -> bytes:
    """The schema as that class of renderers writes it."""
    text: str | bytes = renderer().render(_schema())
    return text.encode() if isinstance(text, str) else text


class SchemaView(SpectacularAPIView):
    """As the library's view, but nothing in the request changes what it returns, so all share one copy."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        renderer: Any = getattr(request, "accepted_renderer")  # noqa: B009 - DRF sets it
        kind: Any = type(renderer)
        headers = {"Cache-Control": "public, max-age=3600"}
        return HttpResponse(_rendered(kind), content_type=renderer.media_type, headers=headers)
