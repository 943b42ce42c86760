"""System checks for configuration mistakes; `manage.py check --deploy` lists them.

Errors also stop web, worker and beat from starting where others could reach them (`refuse_unsafe_start`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from email.utils import parseaddr
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured

from billing import plans

MIN_SECRET_LENGTH = 50
MIN_DISTINCT_CHARACTERS = 10
Check = Callable[[], CheckMessage | None]


def secret_key() -> CheckMessage | None:
    key = settings.SECRET_KEY
    if len(key) >= MIN_SECRET_LENGTH and len(set(key)) >= MIN_DISTINCT_CHARACTERS:
        return None
    return Error(
        "SECRET_KEY is too weak: sign-in links and sessions can be forged.",
        hint="Set it to 50 random characters, e.g. from `openssl rand -base64 48`.",
        id="watchdog.E001",
    )


def allowed_hosts() -> CheckMessage | None:
    if "*" not in settings.ALLOWED_HOSTS:
        return None
    return Error(
        "ALLOWED_HOSTS is *: an attacker could make links in e-mails point to another server.",
        hint="List the host names, or leave it empty to allow the host of BASE_URL.",
        id="watchdog.E002",
    )


def private_targets() -> CheckMessage | None:
    if not (settings.ALLOW_PRIVATE_TARGETS and settings.SIGNUP_OPEN):
        return None
    return Error(
        "ALLOW_PRIVATE_TARGETS is on and sign-up is open: anyone could send requests into your private network.",
        hint="Set SIGNUP_OPEN=false, or ALLOW_PRIVATE_TARGETS=false.",
        id="watchdog.E003",
    )


def default_plan() -> CheckMessage | None:
    if settings.DEFAULT_PLAN in plans.BY_KEY:
        return None
    return Error(
        f"DEFAULT_PLAN is {settings.DEFAULT_PLAN!r}, which is not a plan.",
        hint=f"Choose one of {', '.join(plans.BY_KEY)}.",
        id="watchdog.E004",
    )


def log_format() -> CheckMessage | None:
    if settings.LOG_FORMAT in ("text", "json"):
        return None
    return Error(
        f"LOG_FORMAT is {settings.LOG_FORMAT!r}, which is not a log format.",
        hint="Choose text or json.",
        id="watchdog.E005",
    )


def single_sqlite_writer() -> CheckMessage | None:
    processes = max(_number("GRANIAN_WORKERS"), _number("WEB_CONCURRENCY"))
    if not settings.EMBEDDED or processes <= 1:
        return None
    return Error(
        f"{processes} web processes are configured, but SQLite supports only one writer.",
        hint="Set DATABASE_URL to a PostgreSQL database, or run one web process.",
        id="watchdog.E006",
    )


def _number(variable: str) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else 0


def base_url() -> CheckMessage | None:
    url = urlsplit(settings.BASE_URL)
    if url.scheme == "https" or url.hostname in ("localhost", "127.0.0.1", "::1"):
        return None
    return checks.Warning(
        "BASE_URL is not https: passwords and API keys are sent unencrypted.",
        hint="Put a TLS proxy in front of the server and set BASE_URL to its https address.",
        id="watchdog.W001",
    )


def mail() -> CheckMessage | None:
    if settings.EMAIL_CONFIGURED or settings.EMBEDDED:
        return None
    return checks.Warning(
        "EMAIL_URL is not set: alerts, confirmations and password resets cannot be e-mailed.",
        hint="Set it, e.g. EMAIL_URL=smtp+tls://user:password@mail.example.com:587.",
        id="watchdog.W002",
    )


def sender() -> CheckMessage | None:
    address = parseaddr(settings.DEFAULT_FROM_EMAIL)[1]
    if not settings.EMAIL_CONFIGURED or ("@" in address and not address.endswith("@localhost")):
        return None
    return checks.Warning(
        f"E-mail is sent from {address or 'an empty address'}, which most mail servers reject.",
        hint="Set DEFAULT_FROM_EMAIL to an address of your domain.",
        id="watchdog.W003",
    )


ALL: Sequence[Check] = (
    secret_key,
    allowed_hosts,
    private_targets,
    default_plan,
    log_format,
    single_sqlite_writer,
    base_url,
    mail,
    sender,
)


@register(Tags.security, deploy=True)
def configuration_mistakes(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Every configuration mistake of an installation that others can reach."""
    return [message for check in ALL if (message := check())]


def refuse_unsafe_start() -> None:
    """Raise ImproperlyConfigured with hints if there are errors. Embedded, only the SQLite check applies."""
    if settings.EMBEDDED and not single_sqlite_writer():
        return
    errors = [message for message in configuration_mistakes() if message.is_serious()]
    if errors:
        raise ImproperlyConfigured(" ".join(f"{error.msg} {error.hint}" for error in errors))
