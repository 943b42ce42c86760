"""Wrong settings are found, each with its id and the cure, by `manage.py check --deploy` and at the start."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.watchdog_project.test_checks import GOOD, found
from watchdog_project import checks

KEY = "A" * 43
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("E001", {"SECRET_KEY": "x"}),
    ("E001", {"SECRET_KEY": "changeme"}),
    ("E001", {"SECRET_KEY": "a" * 60}),
    ("E002", {"ALLOWED_HOSTS": ["*"]}),
    ("E002", {"ALLOWED_HOSTS": ["watchdog.example.com", "*"]}),
    ("E003", {"ALLOW_PRIVATE_TARGETS": True}),
    ("E004", {"DEFAULT_PLAN": "gold"}),
    ("E004", {"DEFAULT_PLAN": "Free"}),
    ("E005", {"LOG_FORMAT": "yaml"}),
    ("E007", {"ENCRYPTION_KEYS": ["secret"]}),
    ("E007", {"ENCRYPTION_KEYS": [KEY, "short"]}),
    ("E007", {"ENCRYPTION_KEYS": [KEY + KEY]}),
    ("E008", {"TRUSTED_PROXIES": ["proxy.example.com"]}),
    ("E008", {"TRUSTED_PROXIES": ["10.0.0.300"]}),
    ("E008", {"TRUSTED_PROXIES": ["10.0.0.0/33"]}),
    ("E008", {"TRUSTED_PROXIES": ["*"]}),
    ("E008", {"TRUSTED_PROXIES": ["0.0.0.0/0"]}),
    ("E008", {"TRUSTED_PROXIES": ["127.0.0.1", "::/0"]}),
    ("E009", {"BASE_URL": "watchdog.example.com"}),
    ("E009", {"BASE_URL": "ftp://watchdog.example.com"}),
    ("E009", {"BASE_URL": "https://"}),
    ("E009", {"BASE_URL": "https://watchdog.example.com:99999"}),
    ("E009", {"BASE_URL": "https://watchdog.example.com:port"}),
    ("E009", {"BASE_URL": "https://me:pw@watchdog.example.com"}),
    ("E009", {"BASE_URL": "https://watchdog.example.com/?team=1"}),
    ("E009", {"BASE_URL": "https://watchdog.example.com/#top"}),
    ("E009", {"BASE_URL": "https://watch dog.example.com"}),
    ("E010", {"CSRF_TRUSTED_ORIGINS": ["https://*.example.com"]}),
    ("E010", {"CSRF_TRUSTED_ORIGINS": ["watchdog.example.com"]}),
    ("E010", {"CSRF_TRUSTED_ORIGINS": ["https://watchdog.example.com/path"]}),
    ("E010", {"CSRF_TRUSTED_ORIGINS": ["*"]}),
    ("E011", {"RESTART_DELAYS": [-1.0]}),
    ("E011", {"RESTART_DELAYS": [float("inf")]}),
    ("E011", {"RESTART_DELAYS": [float("nan")]}),
    ("E012", {"env": {"DATABASE_URL": "postgres://me:pa#ss@db/watchdog"}}),
    ("E012", {"env": {"CELERY_BROKER_URL": "redis://:a#b@redis:6379/1"}}),
    ("E012", {"env": {"REDIS_URL": "redis://:a#b@redis:6379/0"}}),
    ("E013", {"SESSION_IDLE_HOURS": 0.0}),
    ("E013", {"SESSION_IDLE_HOURS": float("nan")}),
    ("E013", {"SESSION_IDLE_HOURS": 10_000.0}),
    ("E014", {"AUDIT_STREAM_URL": "logs.example.com"}),
    ("E014", {"AUDIT_STREAM_URL": "udp://logs.example.com:514"}),
    ("E014", {"AUDIT_STREAM_URL": "syslog://"}),
    ("W010", {"AUDIT_STREAM_URL": "syslog://logs.example.com:514"}),
    ("W010", {"AUDIT_STREAM_URL": "http://logs.example.com"}),
    ("E015", {"REDIS_URL": "localhost:6379"}),
    ("E015", {"REDIS_URL": "amqp://user:pw@rabbit/"}),
    ("E015", {"CELERY_BROKER_URL": "broker:6379"}),
    ("E016", {"ALLOWED_HOSTS": ["watchdog.example.com", "https://watchdog.example.com"]}),
    ("E016", {"ALLOWED_HOSTS": ["watchdog.example.com", "watchdog.example.com:8000"]}),
    ("E016", {"ALLOWED_HOSTS": ["watchdog.example.com", "::1"]}),
    ("E017", {"BASE_URL": "https://watchdog.example.com/admin"}),
    ("E017", {"BASE_URL": "https://watchdog.example.com/docs/watchdog"}),
    ("E017", {"BASE_URL": "https://watchdog.example.com/status"}),
    ("E017", {"BASE_URL": "https://watchdog.example.com/static"}),
    ("E018", {"PING_SMTP_PORT": 25}),
    ("E018", {"PING_SMTP_PORT": -1}),
    ("E018", {"PING_SMTP_PORT": 70_000}),
    ("W001", {"BASE_URL": "http://watchdog.example.com"}),
    ("W002", {"EMAIL_CONFIGURED": False}),
    ("W003", {"DEFAULT_FROM_EMAIL": "watchdog@localhost"}),
    ("W003", {"DEFAULT_FROM_EMAIL": "nobody"}),
    ("W004", {"ENCRYPTION_KEYS_CONFIGURED": False}),
    ("W005", {"BASE_URL": "http://127.0.0.1:8000"}),
    ("W005", {"BASE_URL": "http://localhost"}),
    ("W006", {"ALLOWED_HOSTS": [".example.com"]}),
    ("W007", {"EMAIL_HOST": "mail.example.com"}),
    ("W008", {"REDIS_URL": "redis://redis:6379/0"}),
    ("W008", {"CELERY_BROKER_URL": "redis://10.0.0.7:6379/1"}),
    ("W009", {"SIGNUP_CONFIGURED": False}),
    ("W011", {"ALLOWED_HOSTS": ["10.0.0.5"]}),
    ("W011", {"BASE_URL": "https://watch.example.org"}),
]
RIGHT: list[dict[str, Any]] = [
    {"BASE_URL": "https://watchdog.example.com/watchdog"},
    {"BASE_URL": "https://watchdog.example.com/statuses"},
    {"BASE_URL": "https://[2001:db8::1]:8443", "ALLOWED_HOSTS": ["[2001:db8::1]"]},
    {"BASE_URL": "https://xn--bcher-kva.example", "ALLOWED_HOSTS": ["xn--bcher-kva.example"]},
    {"TRUSTED_PROXIES": ["10.0.0.0/8", "2001:db8::/32", " 127.0.0.1 "]},
    {"TRUSTED_PROXIES": []},
    {"ENCRYPTION_KEYS": [KEY, f"{KEY}="]},
    {"EMAIL_HOST": "mail.example.com", "EMAIL_USE_TLS": True},
    {"EMAIL_HOST": "mail.example.com", "EMAIL_USE_SSL": True},
    {"REDIS_URL": "redis://:pw@redis:6379/0"},
    {"REDIS_URL": "redis://127.0.0.1:6379/0"},
    {"CELERY_BROKER_URL": "amqps://user:pw@rabbit.example.com/"},
    {"SIGNUP_OPEN": False, "SIGNUP_CONFIGURED": True},
    {"RESTART_DELAYS": []},
    {"AUDIT_STREAM_URL": "syslog+tls://logs.example.com:6514"},
    {"AUDIT_STREAM_URL": "https://logs.example.com/in?token=x"},
    {"env": {"DATABASE_URL": "postgres://me:pa%23ss@db/watchdog"}},
]


@pytest.fixture
def apply(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the settings and returns the ids of what is found."""

    def applied(changed: dict[str, Any]) -> list[str | None]:
        for name, value in changed.pop("env", {}).items():
            monkeypatch.setenv(name, value)
        return found(settings, **changed)

    return applied


@pytest.mark.parametrize(("id", "changed"), WRONG, ids=str)
def test_wrong_setting_is_found_with_its_cure(apply: Any, id: str, changed: dict[str, Any]) -> None:  # noqa: A002
    names = [*changed.get("env", changed)]
    assert apply(dict(changed)) == [f"watchdog.{id}"]
    (message,) = checks.configuration_mistakes()
    assert message.hint
    words = f"{message.msg} {message.hint}"
    assert any(name.split("_CONFIGURED")[0].removeprefix("EMAIL_HOST") in words for name in names)


@pytest.mark.parametrize("changed", RIGHT, ids=str)
def test_right_setting_is_accepted(apply: Any, changed: dict[str, Any]) -> None:
    assert apply(dict(changed)) == []


@pytest.mark.parametrize(("id", "changed"), [row for row in WRONG if "E004" <= row[0] < "F"], ids=str)
def test_impossible_setting_prevents_every_start(apply: Any, settings: Any, id: str, changed: dict[str, Any]) -> None:  # noqa: A002
    apply({**changed, "EMBEDDED": True})
    with pytest.raises(ImproperlyConfigured):
        checks.refuse_unsafe_start()


def test_table_covers_every_check() -> None:
    ids = set(re.findall(r"watchdog\.([EW]\d{3})", Path(checks.__file__).read_text()))
    assert {row[0] for row in WRONG} == ids - {"E006"}
    assert len(WRONG) >= 40
    assert str(GOOD["BASE_URL"]).startswith("https://")
