"""The error that ends a command: something the person at the terminal can fix."""

from __future__ import annotations


class ConfigError(Exception):
    """Invalid input or settings. The message says how to fix it."""
