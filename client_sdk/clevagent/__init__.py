"""Tells a ClevAgent Watchdog server what an AI agent does."""

from __future__ import annotations

from clevagent import version as _version

__version__ = _version.VERSION

__all__ = ["__version__"]
