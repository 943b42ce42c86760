"""Every kind of channel has its heading in the docs, its tests, and a form of its own."""

from pathlib import Path

import pytest

from alerts import channels
from alerts.channels.base import ChannelKind
from alerts.forms import ChannelForm, field_name, settings_of

ROOT = Path(__file__).resolve().parents[2]
each_kind = pytest.mark.parametrize("kind", channels.ALL, ids=lambda kind: kind.KIND)
HEADINGS = [line for line in (ROOT / "docs/channels.md").read_text().splitlines() if line.startswith("## ")]


@each_kind
def test_a_kind_has_its_heading(kind: ChannelKind) -> None:
    assert f"## {kind.KIND}" in HEADINGS


@each_kind
def test_a_kind_is_a_module_of_its_name_with_a_test_of_its_name(kind: ChannelKind) -> None:
    assert kind.__name__ == f"alerts.channels.{kind.KIND}"  # type: ignore[attr-defined]
    assert f"class Test{kind.KIND.title()}(" in (ROOT / f"tests/alerts/channels/test_{kind.KIND}.py").read_text()


@each_kind
def test_what_a_person_enters_is_in_the_form_with_a_label_and_help(kind: ChannelKind) -> None:
    assert settings_of(kind)
    for name in settings_of(kind):
        field = ChannelForm.base_fields[field_name(kind.KIND, name)]
        assert field.label
        assert field.help_text


def test_no_heading_stands_for_a_kind_that_is_gone() -> None:
    lower = {heading.removeprefix("## ") for heading in HEADINGS if heading == heading.lower()}
    assert lower == {kind.KIND for kind in channels.ALL}
