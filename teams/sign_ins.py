"""Notes each sign-in: in the session, in the audit log, and by e-mail if it is from somewhere new."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import signals
from django.http import HttpRequest
from django.utils import timezone

from teams import account_log, mail
from teams.accounts import client_address
from teams.browsers import browser_name, network_of
from teams.models import KnownBrowser, User
from teams.sessions import SIGN_IN


def connect() -> None:
    """Called once, when the app is ready."""
    signals.user_logged_in.connect(_signed_in)


def _signed_in(*, request: HttpRequest, user: User, **_: Any) -> None:
    now, address = timezone.now(), client_address(request)
    network = network_of(address)
    browser = browser_name(request.headers.get("User-Agent", ""))
    request.session[SIGN_IN] = {"at": now.isoformat(), "address": address if network else None, "browser": browser}
    account_log.record(user, "account.signed_in", {"address": address, "browser": browser})
    if network and _is_new(user, network, browser):
        mail.tell_of_sign_in(user, address=address, browser=browser, at=now)


def _is_new(user: User, network: str, browser: str) -> bool:
    """Whether the person has signed in before, but never with this browser from this network."""
    is_first = not KnownBrowser.objects.filter(user=user).exists()
    _, created = KnownBrowser.objects.update_or_create(
        user=user, network=network, browser=browser, defaults={"last_at": timezone.now()}
    )
    return created and not is_first
