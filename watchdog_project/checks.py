"""System checks for configuration mistakes; `manage.py check --deploy` lists them.

Errors also stop web, worker and beat from starting where others could reach them (`refuse_unsafe_start`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from email.utils import parseaddr
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.http.request import validate_host
from django.urls import URLPattern, URLResolver, get_resolver

from billing import plans
from teams import encryption
from watchdog_project.addresses import as_host
from watchdog_project.forwarding import networks

MIN_SECRET_LENGTH = 50
MIN_DISTINCT_CHARACTERS = 10
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Seconds; a day.
MAX_DELAY = 86_400
# A session ends after 30 days in any case.
MAX_IDLE_HOURS = 720
URL_VARIABLES = ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL")
REDIS_SCHEMES = ("redis", "rediss", "redis+socket")
# First parts of paths that Django's URLs don't list.
SERVED_BEFORE_DJANGO = frozenset({"static", "healthz", "readyz", "metrics"})
# Host names and addresses, but no URLs and ports.
HOST = re.compile(r"\*|\.?[^\s/:@]+|\[[0-9A-Fa-f:.]+\]")
URL_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*")
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


def ping_smtp_port() -> CheckMessage | None:
    port = settings.PING_SMTP_PORT
    if port == 0 or 1024 <= port <= 65535:
        return None
    return Error(
        f"PING_SMTP_PORT is {port}.",
        hint="Choose a port from 1024 to 65535, and have your mail server forward to it. 0: no pings by e-mail.",
        id="watchdog.E018",
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
    if url.scheme == "https" or url.hostname in LOOPBACK or _url_problem(url):
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


def encryption_keys() -> CheckMessage | None:
    try:
        encryption.parse_keys(settings.ENCRYPTION_KEYS)
    except ValueError as error:
        hint = "Generate each with `openssl rand -base64 32`, separated by commas; the first encrypts."
        return Error(f"ENCRYPTION_KEYS is wrong: {error}", hint=hint, id="watchdog.E007")
    if settings.ENCRYPTION_KEYS_CONFIGURED:
        return None
    return checks.Warning(
        "ENCRYPTION_KEYS is not set: secrets at rest depend on SECRET_KEY, which then cannot be replaced.",
        hint="Set it to a key from `openssl rand -base64 32`.",
        id="watchdog.W004",
    )


def proxies() -> CheckMessage | None:
    try:
        trusted = networks(settings.TRUSTED_PROXIES)
    except ValueError as error:
        hint = "List addresses or networks, such as 10.0.0.5 or 10.0.0.0/8, separated by commas; no host names."
        return Error(f"TRUSTED_PROXIES is wrong: {error}.", hint=hint, id="watchdog.E008")
    if all(network.prefixlen for network in trusted):
        return None
    return Error(
        "TRUSTED_PROXIES trusts every address: anyone could claim to be someone else and get around sign-in limits.",
        hint="List only your proxies.",
        id="watchdog.E008",
    )


def base_url_form() -> CheckMessage | None:
    url = urlsplit(settings.BASE_URL)
    problem = _url_problem(url)
    if not problem:
        return None
    return Error(
        f"BASE_URL {problem}: links in mails and pages would not work.",
        hint="Set it to scheme, host, port and path only, such as https://example.com or https://example.com/watchdog.",
        id="watchdog.E009",
    )


def _url_problem(url: SplitResult) -> str:
    try:
        port_is_wrong = url.port == 0
    except ValueError:
        port_is_wrong = True
    problems = {
        "does not begin with http:// or https://": url.scheme not in ("http", "https"),
        "names no host": not url.hostname,
        "has an impossible port": port_is_wrong,
        "contains a user name or password": "@" in url.netloc,
        "has a query or fragment": bool(url.query or url.fragment),
        "contains spaces or other characters that no URL has": not URL_CHARACTERS.fullmatch(url.geturl()),
    }
    return next((problem for problem, is_wrong in problems.items() if is_wrong), "")


def base_url_set() -> CheckMessage | None:
    if settings.EMBEDDED or urlsplit(settings.BASE_URL).hostname not in LOOPBACK:
        return None
    return checks.Warning(
        "BASE_URL is an address of this machine only: links in mails lead nowhere for everyone else.",
        hint="Set it to the address at which people reach the server.",
        id="watchdog.W005",
    )


def wildcard_hosts() -> CheckMessage | None:
    wide = [host for host in settings.ALLOWED_HOSTS if host.startswith(".")]
    if not wide:
        return None
    return checks.Warning(
        f"ALLOWED_HOSTS allows every host below {wide[0]}: whoever controls one of them can imitate this server.",
        hint="List the host names in full.",
        id="watchdog.W006",
    )


def origins() -> CheckMessage | None:
    wrong = [origin for origin in settings.CSRF_TRUSTED_ORIGINS if not _is_origin(origin)]
    if not wrong:
        return None
    return Error(
        f"CSRF_TRUSTED_ORIGINS contains {wrong[0]!r}, which is not one origin.",
        hint="List origins in full: scheme, host and port, such as https://example.com. No wildcards, no paths.",
        id="watchdog.E010",
    )


def _is_origin(text: str) -> bool:
    url = urlsplit(text)
    plain = not (url.path or url.query or url.fragment or "@" in url.netloc)
    return url.scheme in ("http", "https") and bool(url.hostname) and "*" not in text and plain


def mail_encryption() -> CheckMessage | None:
    host = getattr(settings, "EMAIL_HOST", None) or ""
    encrypted = getattr(settings, "EMAIL_USE_TLS", False) or getattr(settings, "EMAIL_USE_SSL", False)
    if not settings.EMAIL_CONFIGURED or encrypted or host in (*LOOPBACK, ""):
        return None
    return checks.Warning(
        "EMAIL_URL is not encrypted: anyone on the way can read sign-in links and the mail server's password.",
        hint="Use smtp+tls:// (port 587) or smtp+ssl:// (port 465).",
        id="watchdog.W007",
    )


def broker_password() -> CheckMessage | None:
    urls = {"REDIS_URL": settings.REDIS_URL, "CELERY_BROKER_URL": settings.CELERY_BROKER_URL}
    name = next((name for name, url in urls.items() if _is_open(urlsplit(url))), None)
    if name is None:
        return None
    return checks.Warning(
        f"{name} has no password: anyone who reaches its port can run tasks of this server.",
        hint="Set a password in Redis and in the URL: redis://:PASSWORD@host:6379/0.",
        id="watchdog.W008",
    )


def _is_open(url: SplitResult) -> bool:
    return url.scheme in ("redis", "rediss") and url.hostname not in LOOPBACK and not url.password


def open_sign_up() -> CheckMessage | None:
    if not settings.SIGNUP_OPEN or settings.SIGNUP_CONFIGURED:
        return None
    return checks.Warning(
        "SIGNUP_OPEN is not set: anyone who reaches this server can sign up.",
        hint="Set SIGNUP_OPEN=false, or SIGNUP_OPEN=true if that is what you want.",
        id="watchdog.W009",
    )


def restart_delays() -> CheckMessage | None:
    if all(0 <= delay <= MAX_DELAY for delay in settings.RESTART_DELAYS):
        return None
    return Error(
        f"RESTART_DELAYS is {settings.RESTART_DELAYS}: delays are from 0 to {MAX_DELAY:,} seconds.",
        hint="Set it to seconds separated by commas, such as 60,300,900.",
        id="watchdog.E011",
    )


def session_idle_time() -> CheckMessage | None:
    if 0 < settings.SESSION_IDLE_HOURS <= MAX_IDLE_HOURS:
        return None
    return Error(
        f"SESSION_IDLE_HOURS is {settings.SESSION_IDLE_HOURS}: nobody could sign in, or sessions would never end.",
        hint=f"Set it to hours, more than 0 and at most {MAX_IDLE_HOURS}.",
        id="watchdog.E013",
    )


def audit_stream() -> CheckMessage | None:
    url = urlsplit(settings.AUDIT_STREAM_URL)
    if not url.geturl() or (url.scheme in ("https", "syslog+tls") and url.hostname):
        return None
    if url.scheme in ("http", "syslog") and url.hostname:
        return checks.Warning(
            "AUDIT_STREAM_URL is not encrypted: anyone on the way can read and change the audit log.",
            hint="Use https:// or syslog+tls://.",
            id="watchdog.W010",
        )
    return Error(
        "AUDIT_STREAM_URL is no address that the audit log can be sent to.",
        hint="Set it to https://…, syslog://host:514 or syslog+tls://host:6514, or leave it empty.",
        id="watchdog.E014",
    )


def unescaped_urls() -> CheckMessage | None:
    """A `#` begins a fragment, so everything after it in a password would be lost."""
    wrong = [name for name in URL_VARIABLES if "#" in os.environ.get(name, "")]
    if not wrong:
        return None
    return Error(
        f"{wrong[0]} contains #, which ends a URL: the rest, such as a password's, is ignored.",
        hint="Write # as %23, and likewise @ as %40, : as %3A, / as %2F and % as %25.",
        id="watchdog.E012",
    )


def broker_urls() -> CheckMessage | None:
    """Celery accepts any text and fails at the first task."""
    redis, broker = settings.REDIS_URL, settings.CELERY_BROKER_URL
    wrong = {"REDIS_URL": redis and _scheme(redis) not in REDIS_SCHEMES, "CELERY_BROKER_URL": not _scheme(broker)}
    name = next((name for name, is_wrong in wrong.items() if is_wrong), None)
    if name is None:
        return None
    return Error(
        f"{name} is no broker's URL: no task would ever run.",
        hint="Write it as redis://:PASSWORD@HOST:6379/0, or rediss:// with TLS.",
        id="watchdog.E015",
    )


def _scheme(url: str) -> str:
    return url.partition("://")[0] if "://" in url else ""


def host_names() -> CheckMessage | None:
    wrong = [host for host in settings.ALLOWED_HOSTS if not HOST.fullmatch(host)]
    if not wrong:
        return None
    return Error(
        f"ALLOWED_HOSTS contains {wrong[0]!r}, which no request can match.",
        hint="List host names only, without scheme, port and path, such as watchdog.example.com.",
        id="watchdog.E016",
    )


def own_host() -> CheckMessage | None:
    url = urlsplit(settings.BASE_URL)
    if host_names() or _url_problem(url) or url.hostname in LOOPBACK:
        return None
    host = as_host(url.hostname or "")
    if validate_host(host, settings.ALLOWED_HOSTS):
        return None
    return checks.Warning(
        f"ALLOWED_HOSTS lacks {host}, the host of BASE_URL: links in mails are answered with 400.",
        hint="Add it, or leave ALLOWED_HOSTS empty to allow the host of BASE_URL.",
        id="watchdog.W011",
    )


def base_url_path() -> CheckMessage | None:
    """A proxy may strip the path or not, so it must not look like the beginning of a page's own path."""
    first = urlsplit(settings.BASE_URL).path.strip("/").partition("/")[0]
    if not first or first not in SERVED_BEFORE_DJANGO | _first_parts(get_resolver().url_patterns):
        return None
    return Error(
        f"BASE_URL has the path /{first}, which is also one of this server's own paths.",
        hint="Publish the server below another path, such as /watchdog, or on a host of its own.",
        id="watchdog.E017",
    )


def _first_parts(patterns: Sequence[URLPattern | URLResolver]) -> frozenset[str]:
    parts = set[str]()
    for pattern in patterns:
        path = str(pattern.pattern)
        if path or isinstance(pattern, URLPattern):
            parts.add(path.partition("/")[0])
        else:
            parts |= _first_parts(pattern.url_patterns)
    return frozenset(parts - {""})


ALL: Sequence[Check] = (
    secret_key,
    allowed_hosts,
    private_targets,
    default_plan,
    log_format,
    ping_smtp_port,
    single_sqlite_writer,
    encryption_keys,
    proxies,
    base_url_form,
    origins,
    restart_delays,
    session_idle_time,
    audit_stream,
    unescaped_urls,
    broker_urls,
    host_names,
    own_host,
    base_url_path,
    base_url,
    mail,
    sender,
    base_url_set,
    wildcard_hosts,
    mail_encryption,
    broker_password,
    open_sign_up,
)

# Settings that work on no installation, also not on one that nobody else can reach.
IMPOSSIBLE: Sequence[Check] = (
    default_plan,
    log_format,
    ping_smtp_port,
    single_sqlite_writer,
    encryption_keys,
    proxies,
    base_url_form,
    origins,
    restart_delays,
    session_idle_time,
    audit_stream,
    unescaped_urls,
    broker_urls,
    host_names,
    base_url_path,
)


@register(Tags.security, deploy=True)
def configuration_mistakes(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Every configuration mistake of an installation that others can reach."""
    return [message for check in ALL if (message := check())]


def refuse_unsafe_start() -> None:
    """Raise ImproperlyConfigured with hints if there are errors. Embedded, only what cannot work counts."""
    found = [message for check in IMPOSSIBLE if (message := check())] if settings.EMBEDDED else configuration_mistakes()
    errors = [message for message in found if message.is_serious()]
    if errors:
        raise ImproperlyConfigured(" ".join(f"{error.msg} {error.hint}" for error in errors))
