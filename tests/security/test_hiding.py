"""Nothing secret leaves with logs and error reports."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import get_resolver

from watchdog_project import logs
from watchdog_project.hiding import hidden, scrub

KEY = "cv_" + "a1B2" * 10
SECRETS = (KEY, "whsec_KJ2kabcdefghijklmnop", "tokenXYZ", "hunter22", "s3cr3t-body")
TEXTS = [
    (f"bad key {KEY} used", KEY),
    ("GET /accounts/sign-in/tokenXYZ/ failed", "tokenXYZ"),
    ("/watchdog/accounts/invitation/tokenXYZ/", "tokenXYZ"),
    ("Not Found: /accounts/password/reset/key/tokenXYZ/", "tokenXYZ"),
    ("/ping/tokenXYZ/start", "tokenXYZ"),
    ("/status/tokenXYZ/", "tokenXYZ"),
    ("postgres://watchdog:hunter22@db/watchdog", "hunter22"),
    ("password=hunter22", "hunter22"),
]


@pytest.mark.parametrize(("text", "secret"), TEXTS)
def test_secrets_in_texts_are_hidden(text: str, secret: str) -> None:
    assert secret not in hidden(text)


@pytest.mark.parametrize("text", ["GET /admin/agents/agent/7/change/", "skyscanner-price-bot is down", "took 5 s"])
def test_other_texts_stay(text: str) -> None:
    assert hidden(text) == text


def test_every_path_with_a_token_is_known() -> None:
    """Routes with a text that gives access: a new one must be added to `hiding.py`."""
    routes = [route for route in _routes(get_resolver()) if "token" in route or "address" in route or "key>" in route]
    filled = ["/" + route.replace("<str:token>", "tokenXYZ").replace("<str:address>", "tokenXYZ") for route in routes]
    assert len(filled) >= 4
    assert [path for path in filled if "tokenXYZ" in path and "tokenXYZ" in hidden(path)] == []


def _routes(under: Any, prefix: str = "") -> list[str]:
    found = []
    for entry in under.url_patterns:
        path = prefix + str(entry.pattern)
        found += _routes(entry, path) if hasattr(entry, "url_patterns") else [path]
    return found


@pytest.fixture
def lines() -> Any:
    """Everything that is logged, as it would stand in the log."""
    logs.configure({"format": "json"})
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written := io.StringIO())
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    logs.configure(settings.LOGGING)


@pytest.mark.parametrize(("text", "secret"), TEXTS)
def test_secrets_are_not_logged(lines: Any, text: str, secret: str) -> None:
    log = logging.getLogger("some.library")
    log.warning("seen: %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("failed")
    assert len(lines()) == 2
    assert secret not in json.dumps(lines())
    assert "Traceback" in lines()[1]["exception"]


@pytest.mark.django_db
def test_refusals_are_logged_without_traceback(lines: Any, viewer: Any, client_of: Any) -> None:
    browser: Client = client_of(viewer)
    assert browser.get("/admin/teams/user/").status_code == 403
    assert browser.get("/admin/alerts/channel/?config__regex=x").status_code == 400
    assert Client().get("/accounts/sign-in/tokenXYZ/").status_code in (404, 410, 400)
    written = json.dumps(lines())
    assert "Forbidden" in written
    assert "Traceback" not in written
    assert "tokenXYZ" not in written


def test_error_reports_have_no_request_and_no_secrets() -> None:
    event = {
        "request": {
            "method": "POST",
            "url": "https://watch.example/accounts/sign-in/tokenXYZ/?next=s3cr3t-body",
            "data": "s3cr3t-body",
            "headers": {"X-Api-Key": KEY},
            "cookies": {"sessionid": "tokenXYZ"},
            "query_string": "q=hunter22",
            "env": {"REMOTE_ADDR": "203.0.113.5"},
        },
        "user": {"ip_address": "203.0.113.5"},
        "extra": {"body": "s3cr3t-body"},
        "exception": {"values": [{"type": "ValueError", "value": f"password=hunter22 {KEY}"}]},
        "breadcrumbs": {"values": [{"message": "GET /ping/tokenXYZ", "data": {"url": "/status/tokenXYZ/"}}]},
    }
    sent = scrub(event)
    assert [secret for secret in (*SECRETS, "203.0.113.5") if secret in json.dumps(sent)] == []
    assert sent["request"] == {"method": "POST", "url": "https://watch.example/accounts/sign-in/…/"}
    assert sent["exception"]["values"][0]["type"] == "ValueError"
