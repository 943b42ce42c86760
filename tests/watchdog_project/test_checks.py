"""Each configuration mistake has an id, and a valid configuration has none."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django.fixtures import Settings as SettingsWrapper

from watchdog_project import checks

GOOD = {
    "SECRET_KEY": "k3J9-rT7xQwZ_2mVbN8sLpYhGfDcRtEaUiOo5641KjHgFdSaPoIu",
    "ALLOWED_HOSTS": ["watchdog.example.com"],
    "ALLOW_PRIVATE_TARGETS": False,
    "SIGNUP_OPEN": True,
    "DEFAULT_PLAN": "free",
    "LOG_FORMAT": "json",
    "EMBEDDED": False,
    "BASE_URL": "https://watchdog.example.com",
    "EMAIL_CONFIGURED": True,
    "DEFAULT_FROM_EMAIL": "Watchdog <watchdog@example.com>",
}
MISTAKES = [
    ("watchdog.E001", {"SECRET_KEY": "short"}),
    ("watchdog.E001", {"SECRET_KEY": "ab" * 40}),
    ("watchdog.E002", {"ALLOWED_HOSTS": ["*"]}),
    ("watchdog.E003", {"ALLOW_PRIVATE_TARGETS": True}),
    ("watchdog.E004", {"DEFAULT_PLAN": "platinum"}),
    ("watchdog.E005", {"LOG_FORMAT": "xml"}),
    ("watchdog.W001", {"BASE_URL": "http://watchdog.example.com"}),
    ("watchdog.W002", {"EMAIL_CONFIGURED": False}),
    ("watchdog.W003", {"DEFAULT_FROM_EMAIL": "ClevAgent Watchdog <watchdog@localhost>"}),
]


def found(settings: SettingsWrapper, **changed: Any) -> list[str | None]:
    for name, value in {**GOOD, **changed}.items():
        setattr(settings, name, value)
    return [message.id for message in checks.configuration_mistakes()]


def test_valid_configuration_passes(settings: SettingsWrapper) -> None:
    assert found(settings) == []


@pytest.mark.parametrize(("id", "changed"), MISTAKES)
def test_each_mistake_has_an_id(settings: SettingsWrapper, id: str, changed: dict[str, Any]) -> None:  # noqa: A002
    assert found(settings, **changed) == [id]


def test_sqlite_allows_one_web_process(settings: SettingsWrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRANIAN_WORKERS", "1")
    assert found(settings, EMBEDDED=True) == []
    monkeypatch.setenv("GRANIAN_WORKERS", "2")
    assert found(settings, EMBEDDED=True) == ["watchdog.E006"]
    assert found(settings, EMBEDDED=False) == []


def test_private_targets_with_closed_sign_up(settings: SettingsWrapper) -> None:
    assert found(settings, ALLOW_PRIVATE_TARGETS=True, SIGNUP_OPEN=False) == []


def test_errors_prevent_start(settings: SettingsWrapper) -> None:
    found(settings, DEFAULT_PLAN="platinum")
    with pytest.raises(ImproperlyConfigured, match=r"platinum.*Choose one of"):
        checks.refuse_unsafe_start()


def test_warnings_do_not_prevent_start(settings: SettingsWrapper) -> None:
    found(settings, BASE_URL="http://watchdog.example.com")
    checks.refuse_unsafe_start()


def test_embedded_installation_starts_anyway(settings: SettingsWrapper) -> None:
    found(settings, EMBEDDED=True, DEFAULT_FROM_EMAIL="watchdog@localhost", SECRET_KEY="short")
    checks.refuse_unsafe_start()


@pytest.mark.live
@pytest.mark.parametrize(
    "command",
    [["-c", "import watchdog_project.wsgi"], ["-m", "celery", "-A", "watchdog_project", "beat", "--pidfile="]],
)
def test_unsafe_production_start_is_refused(command: list[str]) -> None:
    unsafe = {
        "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "SECRET_KEY": "changeme",
        "DJANGO_SETTINGS_MODULE": "watchdog_project.settings",
    }
    done = subprocess.run(
        [sys.executable, *command], env={**os.environ, **unsafe}, capture_output=True, text=True, timeout=180
    )
    assert done.returncode != 0
    assert "SECRET_KEY is too weak" in done.stderr


@pytest.mark.live
def test_missing_secret_key_is_refused() -> None:
    env = {name: value for name, value in os.environ.items() if name != "SECRET_KEY"}
    env |= {
        "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing",
        "DJANGO_SETTINGS_MODULE": "watchdog_project.settings",
    }
    done = subprocess.run([sys.executable, "manage.py", "check"], env=env, capture_output=True, text=True, timeout=180)
    assert done.returncode != 0
    assert "Set SECRET_KEY" in done.stderr
