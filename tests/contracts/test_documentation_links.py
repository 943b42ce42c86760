"""Links in Markdown files lead somewhere, and the repository paths they mention exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import pytest

from watchdog_project import navigation
from watchdog_project.documentation import build, links, slug_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TOP = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
# The changelog tells history: it may name files that are gone.
WITHOUT_PATHS = {"CHANGELOG.md"}
# `docs/rules.md` or `bin/test`, within backticks or code blocks; `<kind>`, `NAME` and `*` are placeholders.
PATH = re.compile(rf"(?<![\w./~-])(?:{'|'.join(sorted(TOP))})/[\w./{{}},*<>-]*\w[\w/}}>]*")
PLACEHOLDER = re.compile(r"<|[A-Z]{3,}|\*")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def broken_links(page: Path) -> Iterator[str]:
    for link in links(page.read_text()):
        parts = urlsplit(link)
        if not (parts.scheme or parts.netloc or link.startswith("/")) and not leads_somewhere(page, parts):
            yield link


def leads_somewhere(page: Path, link: SplitResult) -> bool:
    target = (page.parent / unquote(link.path)).resolve() if link.path else page
    if not (target.exists() and target.is_relative_to(ROOT)):
        return False
    return not link.fragment or link.fragment in anchors(target)


def anchors(page: Path) -> set[str]:
    (built,) = build({page.name: page.read_text()}, {}, "/").pages.values()
    assert built.slug == slug_of(page.name)
    return {section.anchor for section in built.sections}


def missing_paths(text: str) -> list[str]:
    prose = re.sub(r"```python\n.*?```", "", text, flags=re.DOTALL)  # examples name files that are to be written
    named = {path.rstrip(".,") for path in PATH.findall(prose)}
    real = {path for path in named if not PLACEHOLDER.search(path)}
    return sorted(path for path in real if not all((ROOT / name).exists() for name in expanded(path)))


def expanded(path: str) -> list[str]:
    """`a/{b,c}.py` stands for two paths."""
    braces = re.search(r"\{([^}]*)\}", path)
    return [path.replace(braces[0], name) for name in braces[1].split(",")] if braces else [path]


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken_links(page)) == []


@each_page
def test_mentioned_paths_exist(page: Path) -> None:
    if page.name not in WITHOUT_PATHS:
        assert missing_paths(page.read_text()) == []


def test_missing_paths_are_found() -> None:
    assert missing_paths("See `agents/gone.py`, bin/test and `tests/alerts/channels/test_<kind>.py`.") == [
        "agents/gone.py"
    ]


def test_each_page_of_the_server_has_a_section() -> None:
    """The **?** beside a page's title leads there."""
    found = anchors(ROOT / "docs" / "pages.md")
    entries = [
        (title, target) for _, group in navigation._GROUPS for title, _, target in group if target != navigation.HELP
    ]
    assert len(entries) > 18
    for title, target in entries:
        page, _, anchor = navigation.help_for(target)[0].partition("#")
        assert (page, anchor in found) == ("pages/", True), title


def test_broken_links_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "b.md").write_text("# B\n\n## Here\n")
    page = tmp_path / "a.md"
    page.write_text("[1](b.md) [2](b.md#here) [3](b.md#gone) [4](gone.md) [5](https://example.com) [6](../out.md)")
    assert list(broken_links(page)) == ["b.md#gone", "gone.md", "../out.md"]
