"""Who did something, for people."""

from __future__ import annotations

import pytest

from teams import actors


@pytest.mark.parametrize(
    ("actor", "shown"),
    [
        ("ada@example.com", "ada@example.com"),
        ("watchdog", "watchdog"),
        ("", ""),
        ("runner:2/127.0.0.1", "runner at 127.0.0.1"),
        ("runner:2/fd00::7/worker-2", "runner worker-2 at fd00::7"),
        ("runner:2/10.0.0.9/a/b", "runner a/b at 10.0.0.9"),
        ("runner:", "runner"),
    ],
)
def test_runner_is_shown_without_its_keys_number(actor: str, shown: str) -> None:
    assert actors.shown(actor) == shown
