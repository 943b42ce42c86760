"""Operator mistakes, each a system check with an id: `manage.py check --deploy` names them all.

Errors also keep web, worker and beat from starting where strangers could reach them (`refuse_unsafe_start`).
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

SECRET_LENGTH = 50
SECRET_VARIETY = 10
Check = Callable[[], CheckMessage | None]


def secret_key() -> CheckMessage | None:
    key = settings.SECRET_KEY
    if len(key) >= SECRET_LENGTH and len(set(key)) >= SECRET_VARIETY:
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
        "ALLOWED_HOSTS is *: links in mails can be made to point at another server.",
        hint="Name the hosts, or leave it empty: the host of BASE_URL is allowed.",
        id="watchdog.E002",
    )


def private_targets() -> CheckMessage | None:
    if not (settings.ALLOW_PRIVATE_TARGETS and settings.SIGNUP_OPEN):
        return None
    return Error(
        "ALLOW_PRIVATE_TARGETS is on while anybody may sign up: strangers could reach your private network.",
        hint="Set SIGNUP_OPEN=false, or ALLOW_PRIVATE_TARGETS=false.",
        id="watchdog.E003",
    )


def default_plan() -> CheckMessage | None:
    if settings.DEFAULT_PLAN in plans.BY_KEY:
        return None
    return Error(
        f"DEFAULT_PLAN is {settings.DEFAULT_PLAN!r}, which is no plan.",
        hint=f"Choose one of {', '.join(plans.BY_KEY)}.",
        id="watchdog.E004",
    )


def log_format() -> CheckMessage | None:
    if settings.LOG_FORMAT in ("text", "json"):
        return None
    return Error(f"LOG_FORMAT is {settings.LOG_FORMAT!r}.", hint="Choose text or json.", id="watchdog.E005")


def one_writer() -> CheckMessage | None:
    processes = max(_number("GRANIAN_WORKERS"), _number("WEB_CONCURRENCY"))
    if not settings.EMBEDDED or processes <= 1:
        return None
    return Error(
        f"{processes} web processes would fight for SQLite's one lock.",
        hint="Set DATABASE_URL to a PostgreSQL, or run one web process.",
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
        "BASE_URL is not https: passwords and API keys travel in the clear.",
        hint="Put a TLS proxy in front and set BASE_URL to its https address.",
        id="watchdog.W001",
    )


def mail() -> CheckMessage | None:
    if settings.EMAIL_CONFIGURED or settings.EMBEDDED:
        return None
    return checks.Warning(
        "EMAIL_URL is not set: nobody gets alerts, confirmations or password resets by e-mail.",
        hint="Set it, e.g. EMAIL_URL=smtp+tls://user:password@mail.example.com:587.",
        id="watchdog.W002",
    )


def sender() -> CheckMessage | None:
    address = parseaddr(settings.DEFAULT_FROM_EMAIL)[1]
    if not settings.EMAIL_CONFIGURED or ("@" in address and not address.endswith("@localhost")):
        return None
    return checks.Warning(
        f"Mail is sent as {address or 'nobody'}, which most servers refuse.",
        hint="Set DEFAULT_FROM_EMAIL to an address of your domain.",
        id="watchdog.W003",
    )


ALL: Sequence[Check] = (
    secret_key,
    allowed_hosts,
    private_targets,
    default_plan,
    log_format,
    one_writer,
    base_url,
    mail,
    sender,
)


@register(Tags.security, deploy=True)
def operator_mistakes(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """All that is wrong with the settings of an installation that others can reach."""
    return [found for check in ALL if (found := check())]


def refuse_unsafe_start() -> None:
    """Raise ImproperlyConfigured, with what to do, for errors that no installation with a real database should have."""
    if settings.EMBEDDED and not one_writer():
        return
    errors = [found for found in operator_mistakes() if found.is_serious()]
    if errors:
        raise ImproperlyConfigured(" ".join(f"{error.msg} {error.hint}" for error in errors))
