"""People see where they are signed in, and end it; a session that nobody uses ends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session as PlainSession
from django.test import Client
from django.utils import timezone

from teams import sessions
from teams.browsers import browser_name, network_of
from teams.models import AuditEntry, KnownBrowser, Session, Team, User
from teams.tasks import protect_secrets

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.0 Mobile/15E148 Safari/604.1"
)
PAGE = "/accounts/sessions/"
IDLE = timedelta(hours=72)


def sign_in(user: User, agent: str = FIREFOX, address: str = "203.0.113.5") -> Client:
    browser = Client(HTTP_USER_AGENT=agent, REMOTE_ADDR=address)
    answer = browser.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    assert answer.status_code == 302, answer.content.decode()
    return browser


def is_signed_in(browser: Client) -> bool:
    return browser.get("/accounts/profile/").status_code == 200


def test_sessions_are_listed(owner: User, stranger: User) -> None:
    first = sign_in(owner)
    sign_in(owner, IPHONE, "198.51.100.7")
    sign_in(stranger, "curl/8.5.0", "192.0.2.1")
    page = first.get(PAGE).content.decode()
    assert "Firefox on Linux" in page
    assert "Safari on iPhone" in page
    assert "198.51.100.7" in page
    assert "192.0.2.1" not in page
    assert page.count("this browser") == 1
    assert first.cookies["sessionid"].value not in page


def test_one_session_is_ended(owner: User, team: Team) -> None:
    here, there = sign_in(owner), sign_in(owner, IPHONE)
    row = sessions.hash_of(there.cookies["sessionid"].value)
    assert here.get("/accounts/sessions/end/").status_code == 405
    assert here.post("/accounts/sessions/end/", {"session": row}).status_code == 302
    assert is_signed_in(here)
    assert not is_signed_in(there)
    assert AuditEntry.objects.filter(team=team, action="account.sessions_ended", actor=owner.email).count() == 1


@pytest.mark.parametrize("row", ["", "x" * 41, "\x00", "' OR 1=1"])
def test_nobody_ends_another_persons_session(owner: User, stranger: User, row: str) -> None:
    here, theirs = sign_in(owner), sign_in(stranger)
    for value in (row, sessions.hash_of(theirs.cookies["sessionid"].value)):
        assert here.post("/accounts/sessions/end/", {"session": value}).status_code in (302, 400)
    assert is_signed_in(theirs)


def test_sign_out_everywhere_else(owner: User, stranger: User) -> None:
    here, others, theirs = sign_in(owner), [sign_in(owner), sign_in(owner, IPHONE)], sign_in(stranger)
    assert here.post("/accounts/sessions/end-others/").status_code == 302
    assert [is_signed_in(browser) for browser in (here, *others, theirs)] == [True, False, False, True]


def test_unused_session_ends(owner: User) -> None:
    browser, now = sign_in(owner), timezone.now()
    with time_machine.travel(now + IDLE - timedelta(minutes=1), tick=False):
        assert is_signed_in(browser)
    with time_machine.travel(now + 2 * IDLE - timedelta(minutes=2), tick=False):
        assert is_signed_in(browser)
    with time_machine.travel(now + 3 * IDLE, tick=False):
        assert not is_signed_in(browser)


def test_refreshing_page_keeps_nobody_signed_in(owner: User, team: Team) -> None:
    browser, now = sign_in(owner), timezone.now()
    for hours in (24, 48, 71):
        with time_machine.travel(now + timedelta(hours=hours), tick=False):
            assert browser.get("/admin/", headers={"HX-Request": "true"}).status_code == 200
    with time_machine.travel(now + IDLE + timedelta(minutes=1), tick=False):
        assert not is_signed_in(browser)


def test_no_session_outlives_a_month(owner: User) -> None:
    browser, now = sign_in(owner), timezone.now()
    for days in range(2, 30, 2):
        with time_machine.travel(now + timedelta(days=days), tick=False):
            assert is_signed_in(browser)
    with time_machine.travel(now + timedelta(seconds=settings.SESSION_COOKIE_AGE + 1), tick=False):
        assert not is_signed_in(browser)
        protect_secrets()
        assert not Session.objects.exists()


def test_sessions_of_earlier_versions_are_deleted() -> None:
    PlainSession.objects.create(session_key="plain", session_data="", expire_date=timezone.now() + IDLE)
    protect_secrets()
    assert not PlainSession.objects.exists()


def test_new_key_of_a_session_keeps_its_age(owner: User) -> None:
    store = sessions.SessionStore()
    began = timezone.now() - timedelta(days=29)
    store.update({SESSION_KEY: str(owner.pk), sessions.SIGN_IN: {"at": began.isoformat(), "browser": "Firefox"}})
    store.save()
    store.cycle_key()
    row = Session.objects.get()
    assert (row.user, row.browser, row.started_at) == (owner, "Firefox", began)
    assert row.expire_date == began + timedelta(seconds=settings.SESSION_COOKIE_AGE)


def test_sign_in_from_somewhere_new_is_told(owner: User, team: Team, mailoutbox: list[Any]) -> None:
    sign_in(owner)
    sign_in(owner, address="203.0.113.99")
    assert mailoutbox == []
    sign_in(owner, IPHONE)
    sign_in(owner, IPHONE)
    sign_in(owner, address="198.51.100.7")
    assert [mail.to for mail in mailoutbox] == [[owner.email]] * 2
    assert "Safari on iPhone" in mailoutbox[0].body
    assert "198.51.100.7" in mailoutbox[1].body
    assert PAGE in mailoutbox[1].body
    entries = AuditEntry.objects.filter(team=team, action="account.signed_in").order_by("id")
    assert [entry.data["browser"] for entry in entries][2] == "Safari on iPhone"
    assert KnownBrowser.objects.count() == 3


def test_dead_mail_server_stops_no_sign_in(owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise OSError

    monkeypatch.setattr("teams.mail.send_mail", refuse)
    sign_in(owner)
    assert is_signed_in(sign_in(owner, IPHONE))


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (FIREFOX, "Firefox on Linux"),
        (IPHONE, "Safari on iPhone"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("", "Unknown browser"),
        ("<script>", "Unknown browser"),
        ("x" * 500, "x" * 80),
    ],
)
def test_browsers_have_names(agent: str, name: str) -> None:
    assert browser_name(agent) == name


@pytest.mark.parametrize(
    ("address", "network"),
    [("203.0.113.5", "203.0.113.0/24"), ("2001:db8:1:2::3", "2001:db8:1::/48"), ("", ""), ("unknown", "")],
)
def test_addresses_have_networks(address: str, network: str) -> None:
    assert network_of(address) == network


def test_new_key_is_told(
    project: Any,
    owner: User,
    member: User,
    mailoutbox: list[Any],
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    from teams import services

    with django_capture_on_commit_callbacks(execute=True):
        key, raw = services.issue_key(project=project, name="ci", scope="full", actor=member.email)
    assert sorted(mail.to[0] for mail in mailoutbox) == [member.email, owner.email]
    assert member.email in mailoutbox[0].body
    assert key.prefix in mailoutbox[0].body
    assert raw not in mailoutbox[0].body
