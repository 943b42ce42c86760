"""Django's mail settings from `EMAIL_URL`. Pure: no Django settings, no network."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_BACKEND: Final = "django.core.mail.backends.{}.EmailBackend"
_FORM: Final = "Write it as smtp+tls://USER:PASSWORD@HOST:587, or smtps://USER:PASSWORD@HOST:465."
# The port without one in the URL, and the TLS setting: STARTTLS, or TLS from the first byte.
_SMTP: Final[dict[str, tuple[int, str]]] = {
    "smtp": (25, ""),
    "smtp+tls": (587, "EMAIL_USE_TLS"),
    "smtps": (465, "EMAIL_USE_SSL"),
    "smtp+ssl": (465, "EMAIL_USE_SSL"),
}
_OTHERS: Final = {"filemail": "filebased", "consolemail": "console", "memorymail": "locmem", "dummymail": "dummy"}
# Ports with one meaning: whatever the scheme says, TLS there begins so and not otherwise.
_IMPLICIT_TLS_PORT: Final = 465
_STARTTLS_PORTS: Final = (25, 587)
_OPTIONS: Final = frozenset({"EMAIL_USE_TLS", "EMAIL_USE_SSL"})
_OFF: Final = ("", "0", "false", "no", "off")
# Up to the last @: a password may contain #, /, ?, : and @ without being percent-encoded.
_LOGIN: Final = re.compile(r"(?P<user>[^:]*)(?::(?P<password>.*))?@(?P<server>[^@]*)", re.DOTALL)


def mail_settings(url: str) -> dict[str, Any]:
    """Settings such as `EMAIL_HOST` from an URL. Raises ImproperlyConfigured with the cure."""
    scheme, separator, rest = url.strip().partition("://")
    if scheme in _SMTP and separator:
        return _smtp(scheme, rest)
    if scheme in _OTHERS and separator:
        path = unquote(urlsplit(url.strip()).path)
        return {"EMAIL_BACKEND": _BACKEND.format(_OTHERS[scheme]), "EMAIL_FILE_PATH": path[1:]}
    raise ImproperlyConfigured(f"EMAIL_URL must start with {', '.join(f'{each}://' for each in _SMTP)}. {_FORM}")


def _smtp(scheme: str, rest: str) -> dict[str, Any]:
    login = _LOGIN.fullmatch(rest)
    user, password, server = (login["user"], login["password"] or "", login["server"]) if login else ("", "", rest)
    default_port, tls = _SMTP[scheme]
    host, port, options = _server(server, default_port)
    tls = options or tls
    if port == _IMPLICIT_TLS_PORT:
        tls = "EMAIL_USE_SSL"
    elif port in _STARTTLS_PORTS and tls == "EMAIL_USE_SSL":
        tls = "EMAIL_USE_TLS"
    return {
        "EMAIL_BACKEND": _BACKEND.format("smtp"),
        "EMAIL_HOST": host,
        "EMAIL_PORT": port,
        "EMAIL_HOST_USER": unquote(user),
        "EMAIL_HOST_PASSWORD": unquote(password),
        "EMAIL_USE_TLS": tls == "EMAIL_USE_TLS",
        "EMAIL_USE_SSL": tls == "EMAIL_USE_SSL",
    }


def _server(text: str, default_port: int) -> tuple[str, int, str]:
    """Host, port, and the TLS setting of an option such as `?EMAIL_USE_TLS=True`."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    options = {name.upper(): value.lower() not in _OFF for name, value in parse_qsl(parts.query)}
    if not host or port == 0 or parts.path not in ("", "/") or parts.fragment or options.keys() - _OPTIONS:
        # Without the text itself: it may contain a password.
        raise ImproperlyConfigured(f"EMAIL_URL names no mail server, or its port is not a number. {_FORM}")
    return host, port or default_port, next((name for name, is_on in options.items() if is_on), "")
