"""Wrong passwords lock out who guesses, not whose password is guessed, and not the neighbours."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.core.internal.ratelimit import parse_rate
from django.core import mail
from django.test import Client

from teams import lockouts
from teams.models import KnownBrowser, User

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
OFFICE, OTHER_DESK, HOTEL = "203.0.113.9", "203.0.113.77", "198.51.100.4"
# Few, so that the tests are quick; the last one checks the real ones.
HERE, FROM_ADDRESS, ELSEWHERE, ATTEMPTS = 2, 3, 5, 6


@pytest.fixture(autouse=True)
def _rates(settings: Any) -> None:
    settings.ACCOUNT_RATE_LIMITS = {
        "login": None,
        "login_attempt": f"{ATTEMPTS}/5m/key",
        "login_failed": f"{HERE}/5m/key",
        "login_failed_by_address": f"{FROM_ADDRESS}/5m/ip",
        "login_failed_elsewhere": f"{ELSEWHERE}/h/key",
    }


def browser_at(address: str) -> Client:
    return Client(REMOTE_ADDR=address, headers={"User-Agent": FIREFOX})


def guess(address: str, email: str, times: int = 1) -> Any:
    browser = browser_at(address)
    for _ in range(times):
        answer = browser.post("/accounts/login/", {"login": email, "password": "wrong"})
    return answer


def signs_in(address: str, email: str, password: str = PASSWORD) -> bool:
    browser = browser_at(address)
    browser.post("/accounts/login/", {"login": email, "password": password})
    return "_auth_user_id" in browser.session


def attack_from_everywhere(email: str) -> None:
    """More wrong passwords than one account gets in an hour."""
    for number in range(ELSEWHERE + 1):
        guess(f"192.0.2.{number}", email)


def test_account_is_locked_where_it_was_guessed(owner: User, stranger: User) -> None:
    guess(OFFICE, owner.email, times=HERE + 1)
    assert not signs_in(OFFICE, owner.email)
    assert "Wait 5 minutes" in guess(OFFICE, owner.email).content.decode()
    assert signs_in(HOTEL, owner.email), "nobody is locked out from afar"
    assert signs_in(OFFICE, stranger.email), "nor by a neighbour"


def test_locked_account_uses_up_nothing_shared(owner: User, stranger: User) -> None:
    guess(OFFICE, owner.email, times=FROM_ADDRESS + 3)
    assert signs_in(OFFICE, stranger.email)


def test_one_address_tries_few_accounts(owner: User) -> None:
    for number in range(FROM_ADDRESS + 1):
        answer = guess(OFFICE, f"person{number}@example.com")
    assert "from your network" in answer.content.decode()
    assert not signs_in(OFFICE, owner.email)
    assert signs_in(HOTEL, owner.email)


def test_known_browser_is_spared_by_neighbours(owner: User) -> None:
    assert signs_in(OTHER_DESK, owner.email)
    for number in range(FROM_ADDRESS + 1):
        guess(OFFICE, f"person{number}@example.com")
    assert signs_in(OFFICE, owner.email)


def test_guesses_from_everywhere_are_counted(owner: User) -> None:
    attack_from_everywhere(owner.email)
    assert not signs_in(HOTEL, owner.email)
    assert "Reset your password" in guess(HOTEL, owner.email).content.decode()


def test_attack_never_locks_a_person_out(owner: User) -> None:
    assert signs_in(OFFICE, owner.email)
    attack_from_everywhere(owner.email)
    assert signs_in(OTHER_DESK, owner.email)
    assert not signs_in(HOTEL, owner.email)


def test_new_password_lifts_the_lock(owner: User) -> None:
    attack_from_everywhere(owner.email)
    guess(HOTEL, owner.email, times=HERE + 1)
    browser = browser_at(HOTEL)
    browser.post("/accounts/password/reset/", {"email": owner.email})
    link = str(mail.outbox[-1].body).partition("/accounts/password/reset/key/")[2].split()[0]
    form = browser.get(f"/accounts/password/reset/key/{link}", follow=True)
    new = {"password1": "staple battery 42", "password2": "staple battery 42"}
    browser.post(form.redirect_chain[-1][0], new)
    assert signs_in(HOTEL, owner.email, "staple battery 42")


def test_new_password_lifts_the_long_lock(owner: User, settings: Any) -> None:
    settings.ACCOUNT_RATE_LIMITS = dict.fromkeys(settings.ACCOUNT_RATE_LIMITS)
    settings.AXES_FAILURE_LIMIT = 2
    assert guess(HOTEL, owner.email, times=2).status_code == 429
    assert not signs_in(HOTEL, owner.email)
    request: Any = type("Request", (), {"META": {}, "method": "POST"})
    lockouts.lift(request, owner.email, HOTEL)
    assert signs_in(HOTEL, owner.email)


def test_lock_tells_nobody_who_has_an_account(owner: User) -> None:
    seen = [guess(OFFICE, email, times=HERE + 1).content for email in (owner.email, "nobody@example.com")]
    assert ["Too many attempts" in page.decode() for page in seen] == [True, True]


def test_right_password_is_no_failure(owner: User) -> None:
    """But checking it takes time, so not everything is allowed either."""
    assert all(signs_in(HOTEL, owner.email) for _ in range(ATTEMPTS))
    assert not signs_in(HOTEL, owner.email)


def test_unknown_addresses_are_no_known_place(owner: User) -> None:
    """An address that is none, as behind a socket, has no network."""
    KnownBrowser.objects.create(user=owner, network="", browser="Firefox on Linux")
    request: Any = type("Request", (), {"headers": {"User-Agent": FIREFOX}})
    assert not lockouts._is_known(request, owner.email, "")


def test_rates_leave_no_address_alone_enough() -> None:
    """One address guesses less often than all may together, so one attacker does not lock every new place."""
    from watchdog_project import settings as real

    names = ("login_failed", "login_failed_by_address", "login_failed_elsewhere")
    here, by_address, elsewhere = (parse_rate(str(real.ACCOUNT_RATE_LIMITS[name])) for name in names)
    assert here.amount * elsewhere.duration / here.duration < elsewhere.amount
    assert here.amount < by_address.amount
