"""How often a person, a team or an address may do what costs others: counted in the database, for all processes.

In fixed windows: at most `most` per `seconds`, so up to twice as much around the turn of a window. A count belongs to
its transaction; what is rolled back was not done.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Final, NamedTuple

from django.db import connection

from teams.errors import ApiError
from teams.models import RateCount
from teams.times import duration

HOUR: Final = 3_600
DAY: Final = 86_400
MINUTE: Final = 60
_SQL: Final = """
    INSERT INTO teams_ratecount (key, used, ends_at) VALUES (%s, %s, %s)
    ON CONFLICT (key) DO UPDATE SET used = teams_ratecount.used + excluded.used RETURNING used
"""


class RateLimit(NamedTuple):
    """`what` completes "Too many …"."""

    name: str
    most: int
    seconds: int
    what: str


# Each is far above what people do by hand, and far below what bothers others.
TEAMS: Final = RateLimit("teams", 10, DAY, "new teams")
KEYS: Final = RateLimit("keys", 200, DAY, "new API keys in this project")
INVITATIONS_BY_PERSON: Final = RateLimit("invitations_by", 100, DAY, "invitations from you")
INVITATIONS_BY_TEAM: Final = RateLimit("invitations_of", 200, DAY, "invitations from this team")
# Of all teams together, because it is one person who gets the mails.
INVITATIONS_TO_ADDRESS: Final = RateLimit("invitations_to", 5, DAY, "invitations to this address")
# Of each kind that strangers can cause by typing the address: somebody's mailbox is not theirs to fill.
ACCOUNT_MAILS_TO_ADDRESS: Final = RateLimit("account_mails_to", 10, HOUR, "e-mails to this address")
MAINTENANCE: Final = RateLimit("maintenance", 500, DAY, "new maintenance windows in this project")
NOTES: Final = RateLimit("notes", 500, DAY, "notes from you")
WEBHOOKS: Final = RateLimit("webhooks", 600, MINUTE, "requests to this webhook")
NEW_WEBHOOKS: Final = RateLimit("new_webhooks", 100, DAY, "new incoming webhooks in this project")
TESTS_BY_PERSON: Final = RateLimit("tests_by", 60, HOUR, "tests from you")
TESTS_OF_CHANNEL: Final = RateLimit("tests_of", 20, HOUR, "tests of this channel")
TESTS_OF_TEAM: Final = RateLimit("tests_in", 200, HOUR, "tests of this team's channels")
TEST_MAILS_TO_ADDRESS: Final = RateLimit("test_mails_to", 20, DAY, "test e-mails to one of these addresses")


def spend(limit: RateLimit, who: object, now: datetime) -> None:
    """Count one more for `who`. Raises ApiError 429 `rate_limited`, with Retry-After, over the limit."""
    if not take(limit, who, now):
        raise refusal(limit, now)


def take(limit: RateLimit, who: object, now: datetime, amount: int = 1) -> int:
    """Count `amount` more for `who`. Returns how many of them are within the limit."""
    window, key = _window(limit, now), f"{limit.name}:{_short(str(who))}"
    ends_at = datetime.fromtimestamp((window + 1) * limit.seconds, UTC)
    with connection.cursor() as cursor:
        cursor.execute(_SQL, [f"{key}:{window}", amount, connection.ops.adapt_datetimefield_value(ends_at)])
        used: int = cursor.fetchone()[0]
    return max(0, min(amount, limit.most - (used - amount)))


def refusal(limit: RateLimit, now: datetime) -> ApiError:
    wait = int((_window(limit, now) + 1) * limit.seconds - now.timestamp()) + 1
    message = f"Too many {limit.what}: at most {limit.most:,} per {_period(limit)}. Try again in {duration(wait)}."
    return ApiError(429, "rate_limited", message, retry_after=wait)


def purge(now: datetime) -> None:
    """Delete the counts of windows that are over."""
    RateCount.objects.filter(ends_at__lt=now).delete()


def _window(limit: RateLimit, now: datetime) -> int:
    return int(now.timestamp()) // limit.seconds


def _period(limit: RateLimit) -> str:
    return {MINUTE: "minute", HOUR: "hour", DAY: "day"}.get(limit.seconds) or duration(limit.seconds)


def _short(who: str) -> str:
    """Addresses of strangers are not stored in plain text, and have no length limit."""
    return who if who.isdigit() else hashlib.sha256(who.encode()).hexdigest()[:32]
