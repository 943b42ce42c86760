"""Every environment variable that the settings read is in `.env.example` and on the page about deployment."""

from __future__ import annotations

import re
from pathlib import Path

from watchdog_project import checks

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/deployment.md").read_text()
READ = set(
    re.findall(r"env(?:ironment)?\.\w+\(\s*\"([A-Z_]+)\"", (ROOT / "watchdog_project/settings.py").read_text())
) | {"DATABASE_URL"}


def test_variables_are_in_the_example_file() -> None:
    assert set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)) == READ


def test_variables_are_on_the_deployment_page() -> None:
    table = PAGE.partition("## Environment variables")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE)) == READ


def test_checks_are_on_the_deployment_page() -> None:
    ids = set(re.findall(r'id="(watchdog\.\w+)"', Path(checks.__file__).read_text()))
    assert set(re.findall(r"^\| `(watchdog\.\w+)` \|", PAGE, re.MULTILINE)) == ids
