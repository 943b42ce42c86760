"""Where a payment provider plugs in.

A provider is a class with the method of `Gateway`, named in `settings.PAYMENT_GATEWAY`. It sends people to its checkout
and calls `billing.services.set_plan(team=…, plan=…, actor=…)` once they have paid. By default nothing is sold: the
operator of the installation moves teams between plans in the admin.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol
from urllib.parse import quote

from django.conf import settings
from django.utils.module_loading import import_string

from billing.plans import Plan
from teams.models import Team


class Offer(NamedTuple):
    """The text for somebody who wants a larger plan, and where to get it; `url` is empty if there is no checkout."""

    text: str
    url: str = ""


class Gateway(Protocol):
    def offer(self, team: Team, plan: Plan) -> Offer:
        """How this team can move to this plan."""


class ByOperator:
    """No checkout: ask the operator."""

    def offer(self, team: Team, plan: Plan) -> Offer:
        whom = settings.SUPPORT_EMAIL
        if not whom:
            return Offer(f"Ask the operator of this installation to move {team} to {plan.label}.")
        subject = quote(f"Move {team} to {plan.label}")
        return Offer(f"Ask {whom} to move {team} to {plan.label}", f"mailto:{whom}?subject={subject}")


def gateway() -> Gateway:
    """The configured gateway. Raises ImportError if its name cannot be imported."""
    configured: Gateway = import_string(settings.PAYMENT_GATEWAY)()
    return configured
