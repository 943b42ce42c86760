"""Personal links in messages: act on an incident without signing in, and leave a channel.

A link is signed, so nothing is stored. One to act is bound to a person and an incident and ends after `LIFETIME`; what
its holder may do is looked up when they do it, so it ends with their membership, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final, NamedTuple

from django.core import signing

from agents.models import Incident
from alerts.models import Channel
from teams.access import teams_of
from teams.errors import ApiError
from teams.links import absolute
from teams.models import Membership, User
from teams.roles import Action, roles_with

# Each reminder brings a new one.
LIFETIME: Final = timedelta(days=3)
_ACT: Final = "alerts.act"
_LEAVE: Final = "alerts.leave"


class Holder(NamedTuple):
    """Who a link lets act on which incident."""

    person: User
    incident: Incident


def operators(team_id: int, addresses: Iterable[str]) -> dict[str, int]:
    """Those of these addresses that belong to people who may act on the team's incidents, with their ids."""
    lowered = {address.lower(): address for address in addresses}
    members = Membership.objects.filter(
        team=team_id, user__email__in=lowered, user__is_active=True, role__in=roles_with(Action.OPERATE)
    )
    return {lowered[email]: user_id for email, user_id in members.values_list("user__email", "user")}


def act_url(person_id: int, incident_id: int) -> str:
    """A page with buttons for this person and this incident."""
    return absolute("act", signing.dumps([person_id, incident_id], salt=_ACT, compress=True))


def holder_of(token: str) -> Holder:
    """Raises ApiError 404 `link_ended` for a link that is incomplete or expired, or whose person may no longer act."""
    person_id, incident_id = _read(token, _ACT, LIFETIME)
    person = User.objects.filter(pk=person_id, is_active=True).first()
    incidents = Incident.objects.select_related("project__team", "agent__state")
    own = teams_of(person, Action.OPERATE).filter(ended_at=None)
    incident = incidents.filter(pk=incident_id, project__team__in=own).first()
    if person is None or incident is None:
        raise ApiError(404, "link_ended", "This link has ended: the incident is gone, or you may no longer act on it.")
    return Holder(person, incident)


def leave_url(channel_id: int, address: str) -> str:
    """A page on which this address leaves the channel. It does not expire: mails are kept."""
    return absolute("leave_channel", signing.dumps([channel_id, address], salt=_LEAVE, compress=True))


def subscription_of(token: str) -> tuple[Channel, str]:
    """The channel and the address that a link takes out of it. Raises ApiError 404 `link_ended`."""
    channel_id, address = _read(token, _LEAVE, None)
    channel = Channel.objects.select_related("project__team").filter(pk=channel_id).first()
    if channel is None:
        raise ApiError(404, "link_ended", "This channel no longer exists, so it sends no more mails.")
    return channel, address


def _read(token: str, salt: str, max_age: timedelta | None) -> Any:
    try:
        return signing.loads(token, salt=salt, max_age=max_age)
    except signing.SignatureExpired:
        raise ApiError(404, "link_ended", "This link has expired. Sign in and open the incident instead.") from None
    except signing.BadSignature:
        raise ApiError(404, "link_ended", "This link is incomplete. Copy the whole link.") from None
