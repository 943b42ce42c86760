"""The seam for a payment provider: how a team comes to a larger plan.

A provider is a module or an object with the one function of `Gateway`, named in `settings.PAYMENT_GATEWAY`. It sends
people to its checkout; when it hears that they paid, it calls `billing.services.set_plan(team=…, plan=…, actor=…)`.
There is none by default: the operator of the installation moves teams between plans in the admin.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol
from urllib.parse import quote

from django.conf import settings
from django.utils.module_loading import import_string

from billing.plans import Plan
from teams.models import Team


class Offer(NamedTuple):
    """What a person reads who wants more, and where they go for it; `url` empty where nobody sells anything."""

    text: str
    url: str = ""


class Gateway(Protocol):
    def offer(self, team: Team, plan: Plan) -> Offer:
        """How this team comes to this plan."""


class ByOperator:
    """Nobody sells anything here."""

    def offer(self, team: Team, plan: Plan) -> Offer:
        whom = settings.SUPPORT_EMAIL
        if not whom:
            return Offer(f"Ask the operator of this installation to move {team} to {plan.label}.")
        subject = quote(f"Move {team} to {plan.label}")
        return Offer(f"Ask {whom} to move {team} to {plan.label}", f"mailto:{whom}?subject={subject}")


def gateway() -> Gateway:
    """The one that is set. Raises ImportError for a name that is none."""
    made: Gateway = import_string(settings.PAYMENT_GATEWAY)()
    return made
