"""Every channel is complete: registered, documented, tested, and with a form of its own."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from alerts import channels
from alerts.channels import base
from alerts.forms import ChannelForm, field_name, settings_of

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "alerts/channels"
# Modules of the package that are no channels.
SHARED: Final = {"__init__", "base", "http", "incoming_webhook", "texts"}
CASES: Final = ("(ChannelCases)", "(HttpCases)")
MODULES = {path.stem for path in PACKAGE.glob("*.py")} - SHARED
HEADINGS = [line for line in (ROOT / "docs/channels.md").read_text().splitlines() if line.startswith("## ")]
KINDS = {line.removeprefix("## ") for line in HEADINGS if line == line.lower()}
NAMES: Final = ("KIND", "LABEL", "SENDS_ACKNOWLEDGEMENTS", "Config", "parse", "generate", "public", "send")


def missing_parts(name: str) -> Iterator[str]:
    """What a channel still lacks, each with where it belongs."""
    if name in MODULES:
        yield from _missing_in_module(importlib.import_module(f"alerts.channels.{name}"))
    else:
        yield f"a file alerts/channels/{name}.py"
    if name not in channels.BY_KIND:
        yield "its module in ALL in alerts/channels/__init__.py"
    if name not in KINDS:
        yield f"a heading '## {name}' in docs/channels.md"
    yield from _missing_test(name)


def _missing_in_module(module: ModuleType) -> Iterator[str]:
    file = f"{module.__name__.replace('.', '/')}.py"
    yield from (f"{name} in {file}" for name in NAMES if not hasattr(module, name))
    if not getattr(module, "LABEL", "label").strip():
        yield f"a LABEL in {file} that is not empty"
    if module in channels.ALL and hasattr(module, "Config"):
        yield from _missing_in_form(module)


def _missing_test(name: str) -> Iterator[str]:
    path = ROOT / f"tests/alerts/channels/test_{name}.py"
    if not path.exists():
        yield f"a test file tests/alerts/channels/test_{name}.py"
    elif not any(f"class Test{name.title()}{cases}:" in path.read_text() for cases in CASES):
        yield f"class Test{name.title()}(ChannelCases) or (HttpCases), the shared tests, in {path.relative_to(ROOT)}"


def _missing_in_form(module: ModuleType) -> Iterator[str]:
    kind = next(kind for kind in channels.ALL if kind is module)
    settings = settings_of(kind)
    if not settings:
        yield "a setting in Config with msgspec.Meta(title=…, description=…), or nobody can enter one"
    for name in settings:
        field = ChannelForm.base_fields[field_name(kind.KIND, name)]
        if not field.label:
            yield f"a title of Config.{name}, which the form shows as its label"
        if not field.help_text:
            yield f"a description of Config.{name}, which the form shows as its help text"


@pytest.mark.parametrize("name", sorted(MODULES | KINDS | channels.BY_KIND.keys()))
def test_channel_is_complete(name: str) -> None:
    missing = "\n".join(f"- {part}" for part in missing_parts(name))
    assert not missing, f"The channel {name!r} lacks:\n{missing}\nSee CONTRIBUTING.md, Add a channel."


def test_names_checked_are_those_of_the_protocol() -> None:
    protocol = {name for name in vars(base.ChannelKind) if not name.startswith("_")}
    assert set(NAMES) == protocol


def test_incomplete_channel_is_reported_in_full() -> None:
    missing = "\n".join(missing_parts("pigeon"))
    for part in ("alerts/channels/pigeon.py", "'## pigeon'", "test_pigeon.py", "ALL in alerts/channels/__init__.py"):
        assert part in missing
