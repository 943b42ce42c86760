"""Files at fixed paths, and compressed responses."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db
GZIP = {"accept-encoding": "gzip"}


def body_of(answer: Any) -> bytes:
    try:
        return b"".join(answer.streaming_content) if answer.streaming else answer.content
    finally:
        answer.close()


def test_crawlers_are_kept_out_of_pages_with_data() -> None:
    answer = Client().get("/robots.txt")
    assert answer["Content-Type"].startswith("text/plain")
    for path in ("/admin/", "/accounts/", "/api/", "/status/"):
        assert f"Disallow: {path}\n" in answer.content.decode()


def test_security_contact_is_published(settings: Any) -> None:
    settings.SUPPORT_EMAIL, settings.BASE_URL = "help@example.com", "https://watch.example.com"
    fields = dict(
        line.split(": ", 1) for line in Client().get("/.well-known/security.txt").content.decode().splitlines()
    )
    assert fields["Contact"] == "mailto:help@example.com"
    assert fields["Canonical"] == "https://watch.example.com/.well-known/security.txt"
    left = datetime.fromisoformat(fields["Expires"]) - datetime.now(UTC)
    assert timedelta(days=100) < left < timedelta(days=365)
    settings.SUPPORT_EMAIL = ""
    assert b"Contact: https://watch.example.com\n" in Client().get("/.well-known/security.txt").content


def test_favicon_leads_to_the_icon() -> None:
    answer = Client().get("/favicon.ico", follow=True)
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/svg+xml")
    assert body_of(answer)


@pytest.mark.parametrize("path", ["/", "/static/unfold/css/styles.css", "/api/schema", "/docs/"])
def test_text_is_compressed(path: str) -> None:
    plain, small = body_of(Client().get(path)), Client(headers=GZIP).get(path)
    assert small["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in small["Vary"]
    sent = body_of(small)
    assert len(sent) < len(plain) / 2
    assert len(gzip.decompress(sent)) == pytest.approx(len(plain), abs=200), "tokens and nonces differ"


def test_fonts_are_sent_as_they_are() -> None:
    answer = Client(headers=GZIP).get("/static/unfold/fonts/inter/Inter-Regular.woff2")
    assert body_of(answer).startswith(b"wOF2")
    assert not answer.has_header("Content-Encoding")


def test_length_reveals_no_secret() -> None:
    """BREACH guesses secrets by the length of compressed responses, so equal pages differ in it."""
    lengths = {len(Client(headers=GZIP).get("/accounts/login/").content) for _ in range(20)}
    assert len(lengths) > 1
