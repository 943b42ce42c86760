"""Only trusted proxies say where a request comes from, and the server works below a path of its host."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import pytest
from django.conf import settings
from django.test import Client, RequestFactory
from django.urls import set_script_prefix

from agents.reporting import payloads
from teams.accounts import client_address
from teams.models import User
from watchdog_project import documentation_views
from watchdog_project.forwarding import behind_proxies, below_prefix, networks

PROXY, OTHER_PROXY, CLIENT, LIAR = "10.0.0.9", "192.168.7.7", "203.0.113.5", "198.51.100.66"
TRUSTED = networks([PROXY, "192.168.0.0/16", "::1"])


def passed_on(**environ: str) -> dict[str, Any]:
    """What the application sees of a request."""
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen.update(environ)
        return []

    behind_proxies(app, TRUSTED)(dict(environ), None)
    return seen


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        (PROXY, CLIENT, CLIENT),
        (PROXY, f"{LIAR}, {CLIENT}", CLIENT),
        (PROXY, f"{CLIENT}, {OTHER_PROXY}", CLIENT),
        (PROXY, f"{LIAR}, {CLIENT}, {OTHER_PROXY}", CLIENT),
        (PROXY, f"{CLIENT}:4711", CLIENT),
        (PROXY, "[2001:db8::1]:443", "2001:db8::1"),
        (PROXY, "::ffff:203.0.113.5", CLIENT),
        ("::1", CLIENT, CLIENT),
        ("::ffff:10.0.0.9", CLIENT, CLIENT),
        (PROXY, "", PROXY),
        (PROXY, "unknown", PROXY),
        (PROXY, f"{LIAR}, nonsense", PROXY),
        (CLIENT, LIAR, CLIENT),
        ("", LIAR, ""),
        ("unix:", LIAR, "unix:"),
    ],
)
def test_only_trusted_proxies_name_the_client(peer: str, forwarded: str, client: str) -> None:
    assert passed_on(REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded)["REMOTE_ADDR"] == client


@pytest.mark.parametrize(
    "header", ["X_FORWARDED_PROTO", "X_FORWARDED_HOST", "X_FORWARDED_FOR", "FORWARDED", "X_REAL_IP"]
)
def test_forwarding_headers_of_others_are_dropped(header: str) -> None:
    claimed = {f"HTTP_{header}": "https"}
    assert f"HTTP_{header}" not in passed_on(REMOTE_ADDR=CLIENT, **claimed)
    assert passed_on(REMOTE_ADDR=PROXY, **claimed)[f"HTTP_{header}"] == "https"


def test_sign_in_counts_the_connection() -> None:
    """The address that `behind_proxies` leaves, whatever headers say."""
    request = RequestFactory().get("/", REMOTE_ADDR=CLIENT, headers={"X-Forwarded-For": LIAR, "X-Real-Ip": LIAR})
    assert settings.AXES_CLIENT_IP_CALLABLE == "teams.accounts.client_address"
    assert client_address(request) == CLIENT


@pytest.mark.parametrize("text", ["10.0.0.300", "proxy", "10.0.0.0/40"])
def test_impossible_proxies_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text.partition("/")[0])):
        networks([text])


# Below a path


@pytest.fixture
def below(settings: Any) -> Iterable[None]:
    settings.BASE_URL, settings.FORCE_SCRIPT_NAME = "https://watch.example/watchdog", "/watchdog"
    settings.STATIC_URL, settings.ALLOWED_HOSTS = "/watchdog/static/", ["testserver"]
    documentation_views.library.cache_clear()  # rendered once, with the links of the first request
    yield
    documentation_views.library.cache_clear()
    set_script_prefix("/")


@pytest.mark.parametrize("path", ["/", "/admin/", "/api/v1/status"])
def test_both_kinds_of_proxy_reach_the_same_view(path: str) -> None:
    """One that strips the path, and one that does not."""
    seen: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen.append(environ["PATH_INFO"])
        return []

    for asked in (path, f"/watchdog{path}", "/watchdogs/"):
        below_prefix(app, "/watchdog")({"PATH_INFO": asked}, None)
    assert seen == [path, path, "/watchdogs/"]


@pytest.mark.django_db
@pytest.mark.usefixtures("below")
def test_pages_link_below_the_path(owner: User, team: Any, client_of: Any) -> None:
    for path in ("/", "/docs/", "/admin/", "/admin/agents/agent/", "/admin/first-steps/", "/accounts/login/"):
        browser = Client() if "accounts" in path else client_of(owner)
        set_script_prefix("/watchdog/")
        answer = browser.get(path)
        assert answer.status_code == 200, path
        links = re.findall(r'(?:href|src|action|hx-get|hx-post)="(/[^"]*)"', answer.text)
        assert links
        # The addresses of static files are computed when the settings are read: see the last test.
        assert [link for link in links if not link.startswith(("/watchdog/", "/static/"))] == [], path
    set_script_prefix("/watchdog/")
    assert Client().get("/admin/").headers["Location"] == "/watchdog/admin/login/?next=/watchdog/admin/"


@pytest.mark.usefixtures("below")
@pytest.mark.parametrize("prefix", ["/", "/watchdog/", "/agents/"])
def test_absolute_links_have_the_path_once(prefix: str) -> None:
    """In a request, where views know the prefix, and in a task, where they don't."""
    set_script_prefix(prefix)
    assert payloads.agent_url(7) == "https://watch.example/watchdog/admin/agents/agent/7/change/"


def test_settings_follow_the_path() -> None:
    names = "FORCE_SCRIPT_NAME STATIC_URL CSRF_TRUSTED_ORIGINS SESSION_COOKIE_PATH ALLOWED_HOSTS[0]"
    names += " SPECTACULAR_SETTINGS['SERVERS'][0]['url']"
    code = f'from watchdog_project import settings as s; print(*[eval("s." + name) for name in "{names}".split()])'
    env = {"BASE_URL": "https://watch.example/watchdog/", "SECRET_KEY": "x" * 50, "DATA_DIR": "/nonexistent"} | {
        "ENCRYPTION_KEYS": "A" * 43
    }
    printed = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=settings.BASE_DIR, capture_output=True, text=True, check=True
    ).stdout
    assert printed.split() == [
        "/watchdog", "/watchdog/static/", "['https://watch.example']", "/watchdog/", "watch.example", "/watchdog",
    ]  # fmt: skip
