"""Absolute URLs, for mails, messages and API answers: below `BASE_URL`, which may have a path."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.conf import settings
from django.urls import get_script_prefix, reverse


def absolute(view: str, *args: Any) -> str:
    """The absolute URL of a view."""
    return on_base_url(_path(view, args, get_script_prefix()))


# Looking paths up was a fifth of what a notification costs.
@lru_cache(maxsize=4096)
def _path(view: str, args: tuple[Any, ...], prefix: str) -> str:
    return reverse(view, args=args)  # it adds the prefix, which is a part of the key


def on_base_url(path: str) -> str:
    """The absolute URL of a path as `reverse` returns it: with the prefix in a request, without it in a task."""
    return f"{settings.BASE_URL}/{path.removeprefix(get_script_prefix()).lstrip('/')}"


def on_site(path: str) -> str:
    """A path of this site, such as `/docs/`, below the path of `BASE_URL`."""
    return get_script_prefix() + path.lstrip("/")
