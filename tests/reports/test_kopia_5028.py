"""https://github.com/kopia/kopia/issues/5028

A mail server that expects TLS at once on port 465 never hears of the test.
"""

from __future__ import annotations

from watchdog_project.mail_settings import mail_settings


def test_port_465_begins_with_tls() -> None:
    for url in ("smtps://me:pw@mail.example.com", "smtp://me:pw@mail.example.com:465"):
        settings = mail_settings(url)
        assert (settings["EMAIL_PORT"], settings["EMAIL_USE_SSL"], settings["EMAIL_USE_TLS"]) == (465, True, False)
