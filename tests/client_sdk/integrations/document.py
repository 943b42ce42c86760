"""Reads docs/integrations.md by heading."""

from __future__ import annotations

import re
from pathlib import Path

TEXT = (Path(__file__).parents[3] / "docs" / "integrations.md").read_text()


def headings() -> list[str]:
    return re.findall(r"^## (.+)$", TEXT, re.M)


def example(name: str) -> str:
    """Return the only program under this heading."""
    section = TEXT.split(f"\n## {name}\n")[1].partition("\n## ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, re.S)
    return str(block)
