"""Secrets stay on the machine, and other texts stay unchanged."""

from __future__ import annotations

import pytest
from clevagent.redact import redacted, traceback_of, without_values


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("key sk-proj-abcdefghijkl1234", "key [hidden]"),
        ("cv_abcdefghijklmnop", "[hidden]"),
        ("ghp_abcdefghijklmnop1234", "[hidden]"),
        ("AKIAIOSFODNN7EXAMPLE", "[hidden]"),
        ("Authorization: Bearer abc.def.ghi", "Authorization: [hidden] [hidden]"),
        ("postgres://me:hush@db/x", "postgres://[hidden]@db/x"),
        ('{"api_key": "abcdef"}', '{"api_key": "[hidden]"}'),
        ("password=hush123, user=me", "password=[hidden], user=me"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.sig", "[hidden]"),
    ],
)
def test_secrets_are_hidden(text: str, clean: str) -> None:
    assert redacted(text) == clean


@pytest.mark.parametrize(
    "text",
    ["834 tokens used", "query=release notes", "https://host/path", "the token: a", "max_tokens=4096", "risk-free"],
)
def test_other_texts_stay(text: str) -> None:
    assert redacted(text) == text


def test_values_of_secret_variables_are_hidden() -> None:
    environment = {"DB_PASSWORD": "correct horse", "HOME": "/home/me/x", "API_KEY": "short"}
    assert without_values("correct horse in /home/me/x, short", environment) == "[hidden] in /home/me/x, short"


def test_long_traceback_keeps_its_end() -> None:
    try:
        raise ValueError("x" * 50_000 + " the cause")
    except ValueError as error:
        text = traceback_of(type(error), error, error.__traceback__)
    assert len(text) == 16_000
    assert text.endswith("the cause\n")
