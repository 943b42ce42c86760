"""E-mail to a team's owners about the channels themselves: what was lost, and who refuses messages.

A notice is a column of the channel, written with the outcome and sent by `send_due`, so a crash loses none.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

from django.db import transaction

from alerts.models import Channel
from teams.links import absolute
from teams.mail import notify_owners

# Channels per run; the next run is a minute away.
MAX_MAILS: Final = 50
_TEXT: Final = """\
Channel {channel} in project {project} ({team}) {state}:

{notice}

{cure}
{url}
"""
_DISABLED: Final = "It receives no more alerts. Fix the problem, re-enable it and send a test:"
_FAILING: Final = "Fix the problem and send a test:"


@transaction.atomic
def channel_fails(channel: Channel, reason: str, now: datetime) -> None:
    """The channel lost a notification or was disabled. Owners are notified once until it works again."""
    row = _lock(channel)
    if row is None or (row.enabled and _is_known(row)):
        return
    _save(row, owner_notice=_joined(row.owner_notice, reason), owners_notified_at=now)


def _is_known(channel: Channel) -> bool:
    since, notified = channel.failing_since, channel.owners_notified_at
    return since is not None and notified is not None and notified >= since


@transaction.atomic
def recipient_refuses(channel: Channel, recipient: str, reason: str) -> None:
    """A recipient permanently refuses messages. Owners are notified once until it accepts one."""
    row = _lock(channel)
    if row is None:
        return
    is_new = recipient not in row.refused
    notice = _joined(row.owner_notice, reason) if is_new else row.owner_notice
    _save(row, refused={**row.refused, recipient: reason}, owner_notice=notice)
    channel.refused = row.refused | {recipient: reason}


@transaction.atomic
def recipient_left(channel: Channel, recipient: str) -> None:
    """A recipient unsubscribed, perhaps by mistake in the name of a whole mailing list."""
    row = _lock(channel)
    if row is not None:
        _save(row, owner_notice=_joined(row.owner_notice, f"{recipient} unsubscribed."))


def recipients_accept(channel: Channel, recipients: Collection[str]) -> None:
    """Recipients received a message: those that refused earlier ones work again."""
    if not channel.refused.keys() & set(recipients):
        return
    with transaction.atomic():
        row = _lock(channel)
        if row is not None:
            channel.refused = {name: why for name, why in row.refused.items() if name not in recipients}
            _save(row, refused=channel.refused)


def send_due() -> None:
    """Send the notices. If no mail server takes one, it and the rest wait for the next run."""
    waiting = Channel.objects.exclude(owner_notice="").select_related("project__team").order_by("pk")
    for channel in waiting[:MAX_MAILS]:
        if not notify_owners(channel.project.team, _subject(channel), _text(channel)):
            return
        Channel.objects.filter(pk=channel.pk, owner_notice=channel.owner_notice).update(owner_notice="")


def _subject(channel: Channel) -> str:
    return f"Channel {channel.name} {'loses alerts' if channel.enabled else 'was disabled'}"


def _text(channel: Channel) -> str:
    return _TEXT.format(
        channel=channel,
        project=channel.project,
        team=channel.project.team,
        state="does not deliver every alert" if channel.enabled else "was disabled",
        notice=channel.owner_notice,
        cure=_FAILING if channel.enabled else _DISABLED,
        url=absolute("admin:alerts_channel_change", channel.pk),
    )


def _lock(channel: Channel) -> Channel | None:
    # Without locking the key: inserting a delivery must not wait for this lock.
    return Channel.objects.select_for_update(no_key=True).filter(pk=channel.pk).first()


def _save(channel: Channel, **changes: object) -> None:
    Channel.objects.filter(pk=channel.pk).update(**changes)


def _joined(notice: str, reason: str) -> str:
    return reason if not notice else notice if reason in notice else f"{notice}\n{reason}"[:2000]
