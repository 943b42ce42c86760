"""`EMAIL_URL`: what people write works, or is refused with the cure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import send_mail
from pytest_django.fixtures import Settings

from tests.alerts.channels.test_email import Sink
from tests.alerts.channels.test_http import certificate
from tests.flows.installation import free_port
from watchdog_project.mail_settings import mail_settings

STARTTLS, TLS, PLAIN = (True, False), (False, True), (False, False)


@pytest.mark.parametrize(
    ("url", "port", "tls"),
    [
        ("smtp://u:p@mail.example.com", 25, PLAIN),
        ("smtp://u:p@mail.example.com:2525", 2525, PLAIN),
        ("smtp+tls://u:p@mail.example.com", 587, STARTTLS),
        ("smtp+tls://u:p@mail.example.com:2525/", 2525, STARTTLS),
        ("smtps://u:p@mail.example.com", 465, TLS),
        ("smtps://u:p@mail.example.com:465", 465, TLS),
        ("smtp+ssl://u:p@mail.example.com:465", 465, TLS),
        ("smtp+ssl://u:p@mail.example.com:4650", 4650, TLS),
        # The port decides where only one way can work.
        ("smtp+tls://u:p@mail.example.com:465", 465, TLS),
        ("smtp://u:p@mail.example.com:465", 465, TLS),
        ("smtps://u:p@mail.example.com:587", 587, STARTTLS),
        ("smtp://u:p@mail.example.com:587/?EMAIL_USE_TLS=True", 587, STARTTLS),
    ],
)
def test_encryption_fits_the_port(url: str, port: int, tls: tuple[bool, bool]) -> None:
    settings = mail_settings(url)
    assert (settings["EMAIL_HOST"], settings["EMAIL_PORT"]) == ("mail.example.com", port)
    assert (settings["EMAIL_USE_TLS"], settings["EMAIL_USE_SSL"]) == tls
    assert (settings["EMAIL_HOST_USER"], settings["EMAIL_HOST_PASSWORD"]) == ("u", "p")


@pytest.mark.parametrize("password", ["pa#ss", "a/b", "a?b=c", "a:b", "a@b", "a b", "100%", "#", "[x]", "p&q+r"])
def test_password_needs_no_encoding(password: str) -> None:
    settings = mail_settings(f"smtp+tls://me@example.com:{password}@mail.example.com:587\n")
    assert settings["EMAIL_HOST_USER"] == "me@example.com"
    assert settings["EMAIL_HOST_PASSWORD"] == password
    assert settings["EMAIL_HOST"] == "mail.example.com"


def test_encoded_password_is_decoded() -> None:
    assert mail_settings("smtp://me%40x:p%23%25@host")["EMAIL_HOST_PASSWORD"] == "p#%"
    assert mail_settings("smtp://me%40x:p%23%25@host")["EMAIL_HOST_USER"] == "me@x"


def test_server_without_a_login() -> None:
    settings = mail_settings("smtp://localhost:1025")
    assert (settings["EMAIL_HOST_USER"], settings["EMAIL_HOST_PASSWORD"]) == ("", "")


@pytest.mark.parametrize(
    "url",
    [
        "mail.example.com:587", "https://mail.example.com", "smtp:", "smtp://", "smtp://:25", "smtp+tls://u:hidden@:587",
        "smtp+tls://u:hidden@host:port", "smtp+tls://u:hidden@host:99999", "smtp+tls://u:hidden@host/path",
        "smtp://u:hidden@host/?timeout=5",
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_the_cure(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="smtps://USER:PASSWORD@HOST:465") as caught:
        mail_settings(url)
    assert "hidden" not in str(caught.value)


def test_folder_for_mails() -> None:
    settings = mail_settings("filemail:////var/lib/my%20data/mail")
    assert settings["EMAIL_FILE_PATH"] == "/var/lib/my data/mail"
    assert settings["EMAIL_BACKEND"].endswith("filebased.EmailBackend")


@pytest.fixture
def tls_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    context = certificate(tmp_path, "localhost", dt.datetime(2099, 1, 1, tzinfo=dt.UTC))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    controller = Controller(Sink(), hostname="localhost", port=free_port(), ssl_context=context)
    controller.start()
    yield controller
    controller.stop()


def test_mail_is_sent_through_implicit_tls(tls_server: Any, settings: Settings) -> None:
    for name, value in mail_settings(f"smtps://localhost:{tls_server.port}").items():
        setattr(settings, name, value)
    settings.EMAIL_TIMEOUT = 30
    assert send_mail("It works", "Yes.", None, ["ops@example.com"]) == 1
    assert "It works" in tls_server.handler.mails[0]
