"""Wrong passwords: who has to wait, and where. The rates are `ACCOUNT_RATE_LIMITS` in the settings.

1. One account from one address, so nobody is locked out from afar or by a neighbour behind the same address.
   django-axes counts the same over a longer time.
2. All accounts from one address, against a few passwords tried on many accounts.
3. One account from all addresses, against guesses from many of them.

The last two spare people who have signed in before with this browser from this network: an attack elsewhere never locks
them out. Counting stops at the first limit that refuses, so a locked account doesn't use up what its neighbours share.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from allauth.core.internal import ratelimit
from allauth.core.internal.ratelimit import RateLimitUsage
from axes import utils as axes
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from teams.browsers import browser_name, network_of
from teams.models import KnownBrowser

AT_ONE_ADDRESS: Final = "login_failed"
# Right passwords count, too: checking one takes a third of a second of CPU time.
ATTEMPTS: Final = "login_attempt"
BY_ADDRESS: Final = "login_failed_by_address"
ELSEWHERE: Final = "login_failed_elsewhere"
_consume: Any = partial(ratelimit.consume, app="allauth.account")
_clear: Any = partial(ratelimit.clear, app="allauth.account")
_MESSAGES: Final = {
    AT_ONE_ADDRESS: "Too many attempts. Wait 5 minutes, or reset your password.",
    ATTEMPTS: "Too many attempts. Wait 5 minutes.",
    BY_ADDRESS: "Too many attempts from your network. Wait 5 minutes.",
    ELSEWHERE: "Too many attempts. Reset your password, or sign in from where you have signed in before.",
}


def count_attempt(request: HttpRequest, login: str, address: str) -> RateLimitUsage:
    """Count an attempt to sign in as `login`; roll the result back if the password was right.

    Raises ValidationError, also for accounts that don't exist, when there were too many.
    """
    used = _count(request, AT_ONE_ADDRESS, _at(login, address))
    _count(request, ATTEMPTS, _at(login, address))
    if not _is_known(request, login, address):
        used += _count(request, BY_ADDRESS) + _count(request, ELSEWHERE, login)
    return RateLimitUsage(used)


def lift(request: HttpRequest, login: str, address: str) -> None:
    """After a password was reset, which proves the mailbox."""
    _clear(request, action=AT_ONE_ADDRESS, key=_at(login, address))
    _clear(request, action=ELSEWHERE, key=login)
    axes.reset(ip=address, username=login)


def _count(request: HttpRequest, action: str, key: str | None = None) -> list[Any]:
    usage: RateLimitUsage | None = _consume(request, action=action, key=key)
    if usage is None:
        raise ValidationError(_MESSAGES[action], code="too_many_login_attempts")
    return usage.usage


def _at(login: str, address: str) -> str:
    return f"{login} {ratelimit.truncate_ip(address)}"


def _is_known(request: HttpRequest, login: str, address: str) -> bool:
    browser = browser_name(request.headers.get("User-Agent", ""))
    known = KnownBrowser.objects.filter(user__email__iexact=login, network=network_of(address) or None, browser=browser)
    return known.exists()
