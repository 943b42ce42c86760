"""The package's version, as `pyproject.toml` says it, and how the client names itself to the server."""

from __future__ import annotations

VERSION = "1.0.0"
AGENT = f"clevagent-python/{VERSION}"
