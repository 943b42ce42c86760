"""The one error that ends a start: something the person who starts the runner can put right."""

from __future__ import annotations


class Wrong(Exception):
    """Bad input or settings. The message says what to do."""
