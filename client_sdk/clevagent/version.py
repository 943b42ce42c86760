"""The package's version, equal to `pyproject.toml`, and the client's User-Agent."""

from __future__ import annotations

VERSION = "1.0.0"
AGENT = f"clevagent-python/{VERSION}"
