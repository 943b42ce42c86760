"""Log lines: text or JSON, with the request id on lines that belong to a request."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from django.test import Client

REQUEST = """
import logging
import django
django.setup()
from django.test import Client
Client(SERVER_NAME="127.0.0.1").get("/static/nothing-here", headers={"X-Request-ID": "trace-1234"})
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("test").exception("outside\\nof a request")
"""


def lines(form: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    env = {**kept, "LOG_FORMAT": form, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    done = subprocess.run([sys.executable, "-c", REQUEST], env=env, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return done.stderr.strip().splitlines()


@pytest.mark.live
def test_json_lines_have_request_id() -> None:
    first, second = (json.loads(line) for line in lines("json"))
    assert first["event"] == "Not Found: /static/nothing-here"
    assert first["request_id"] == "trace-1234"
    assert (first["level"], first["logger"]) == ("warning", "django.request")
    assert first["timestamp"].endswith("Z")
    assert "request_id" not in second
    assert "ZeroDivisionError" in second["exception"]


@pytest.mark.live
def test_text_lines_have_request_id() -> None:
    first, second = lines("text")[:2]
    assert "Not Found: /static/nothing-here" in first
    assert "trace-1234" in first
    assert "trace-1234" not in second


def test_each_response_has_request_id(client: Client) -> None:
    one, two = (client.get("/healthz")["X-Request-ID"] for _ in range(2))
    assert len(one) == 32
    assert one != two


@pytest.mark.parametrize(
    ("given", "kept"), [("trace-1234", True), ("short", False), ("x" * 65, False), ("a b\nc d e f", False)]
)
def test_valid_caller_request_id_is_kept(client: Client, given: str, kept: bool) -> None:
    assert (client.get("/healthz", headers={"X-Request-ID": given})["X-Request-ID"] == given) is kept
