"""What people have set about messages to them. It holds for their addresses in every channel."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db import transaction

from agents.incidents.snoozes import zone_of
from alerts.models import QuietHours
from alerts.quiet_hours import Quiet
from teams.models import User


def quiet_of(addresses: Collection[str]) -> dict[str, Quiet]:
    """The quiet hours of those of these addresses that belong to people who have some."""
    lowered = {address.lower(): address for address in addresses if address}
    if not lowered:
        return {}
    rows = QuietHours.objects.filter(user__email__in=lowered).select_related("user")
    return {lowered[row.user.email]: _quiet(row) for row in rows}


def _quiet(row: QuietHours) -> Quiet:
    return Quiet(row.start, row.end, row.days, zone_of(row.user.time_zone), row.critical_passes)


@transaction.atomic
def set_quiet_hours(user: User, settings: dict[str, Any] | None) -> None:
    """Replace a person's quiet hours; None: no more. What waits for their end already keeps waiting."""
    if settings is None:
        QuietHours.objects.filter(user=user).delete()
    else:
        QuietHours.objects.update_or_create(user=user, defaults=settings)
