"""The one error that ends a start: something the person who starts the runner can put right."""

from __future__ import annotations


class Wrong(Exception):  # noqa: N818 - what the person gave, not what failed
    """Bad input or settings. The message says what to do."""
