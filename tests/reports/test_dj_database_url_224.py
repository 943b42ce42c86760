"""https://github.com/jazzband/dj-database-url/issues/224

An unescaped # in the database's password is read as the end of its address.
"""

from __future__ import annotations

import pytest
from pytest_django.fixtures import Settings

from tests.watchdog_project.test_checks import GOOD, found
from watchdog_project import checks


def test_it_is_refused_with_the_cure(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://user:pass#word@server.example.com/watchdog")
    assert found(settings, **GOOD) == ["watchdog.E012"]
    (message,) = checks.configuration_mistakes()
    assert "%23" in f"{message.msg} {message.hint}"
    assert "pass" not in f"{message.msg} {message.hint}".replace("password", "")
