"""The writes on channels, each audited. `actor` is text: a person's e-mail or `key:PREFIX`.

What cannot be done raises `teams.errors.ApiError`: 422 with the field to mend, 403 when the plan has no room.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from django.db import transaction

from alerts import channels, outbox, sending
from alerts.channels.base import ConfigError
from alerts.models import Channel, Delivery
from billing import limits
from teams.errors import ApiError
from teams.models import Project
from teams.services import audit

CHANGED: Final = ("name", "config", "enabled", "severity", "labels")


@transaction.atomic
def create_channel(
    *, project: Project, kind: str, name: str, config: Mapping[str, Any], actor: str, **route: Any
) -> tuple[Channel, str | None]:
    """Add a channel. `route` is its `severity` and `labels`, where it is not told of everything.

    The second value is the secret we made for it, if its kind has one: shown now and never again.
    """
    generated = channels.BY_KIND[kind].generate()
    checked = _checked(kind, {**config, **generated})
    limits.require_room(team_id=project.team_id, what="channels")
    channel = Channel.objects.create(project=project, kind=kind, name=name, config=checked, **route)
    audit(
        team=project.team, actor=actor, action="channel.created", target=str(channel), of=channel, data={"kind": kind}
    )
    return channel, generated.get("secret")


def _checked(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The config as it is stored: what the kind knows, nothing else."""
    try:
        parsed: dict[str, Any] = msgspec.to_builtins(channels.BY_KIND[kind].parse(config))
    except ConfigError as error:
        raise ApiError(422, "invalid", str(error), fields={f"config.{error.field}": str(error)}) from None
    return parsed


@transaction.atomic
def change_channel(
    *,
    channel: Channel,
    actor: str,
    now: datetime,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    enabled: bool | None = None,
    severity: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> Channel:
    """Change what is given. Settings left out of `config` stay; made secrets always do.

    A changed address or a channel switched on starts afresh: its past failures are forgotten.
    """
    channel = Channel.objects.select_for_update(no_key=True).get(pk=channel.pk)
    before = _values(channel)
    channel.name = channel.name if name is None else name
    if config is not None:
        kept = channels.BY_KIND[channel.kind].generate().keys()
        given = {key: value for key, value in config.items() if key not in kept}
        channel.config = _checked(channel.kind, {**channel.config, **given})
    channel.enabled = channel.enabled if enabled is None else enabled
    channel.severity = channel.severity if severity is None else severity
    channel.labels = channel.labels if labels is None else dict(labels)
    changed = [word for word, old, new in zip(CHANGED, before, _values(channel), strict=True) if old != new]
    if changed:
        _apply(channel, changed, actor, now)
        _note_change(channel, changed, actor)
    return channel


def _note_change(channel: Channel, changed: list[str], actor: str) -> None:
    team, name = channel.project.team, str(channel)
    if "enabled" in changed:
        action = "channel.switched_on" if channel.enabled else "channel.switched_off"
        audit(team=team, actor=actor, action=action, target=name, of=channel)
    others = [word for word in changed if word != "enabled"]
    if others:
        audit(team=team, actor=actor, action="channel.changed", target=name, of=channel, data={"changed": others})


def _values(channel: Channel) -> list[Any]:
    return [getattr(channel, name) for name in CHANGED]


def _apply(channel: Channel, changed: list[str], actor: str, now: datetime) -> None:
    if "enabled" in changed:
        # In both directions: what was written just before it went off would be stale when it is on again.
        sending.skip_waiting(channel, now)
        channel.disabled_reason = "" if channel.enabled else f"by {actor}"
    if {"config", "enabled"} & set(changed):
        channel.failing_since = channel.retry_at = None
        channel.failures, channel.last_error = 0, ""
        channel.deliveries.unleased(now).filter(attempts__gt=0).update(next_try_at=now)
    channel.save()


@transaction.atomic
def delete_channel(*, channel: Channel, actor: str) -> None:
    """Remove a channel with its deliveries."""
    audit(team=channel.project.team, actor=actor, action="channel.deleted", target=str(channel))
    channel.delete()


def silence(team_id: int) -> None:
    """Let nobody hear any more of what a team has; for one that ended."""
    Channel.objects.filter(project__team=team_id).update(enabled=False)


@transaction.atomic
def rotate_secret(*, channel: Channel, actor: str) -> str:
    """Sign with a new secret from now on, which is shown now and never again.

    Until the receiver knows it, it refuses what comes; that is tried again for a day. Raises 409 `no_secret` for a
    kind that has none.
    """
    generated = channels.BY_KIND[channel.kind].generate()
    if "secret" not in generated:
        raise ApiError(409, "no_secret", f"A channel of the kind {channel.get_kind_display()} has no secret.")
    channel = Channel.objects.select_for_update(no_key=True).get(pk=channel.pk)
    channel.config = _checked(channel.kind, {**channel.config, **generated})
    channel.save(update_fields=["config"])
    audit(team=channel.project.team, actor=actor, action="channel.secret_rotated", target=str(channel), of=channel)
    return generated["secret"]


def send_test(*, channel: Channel, actor: str, now: datetime) -> Delivery:
    """Send a test at once, also to a channel that is off. It is tried once; the delivery says how it went.

    Takes as long as the channel does, at most some 10 seconds: call it outside any transaction.
    """
    delivery = Delivery.objects.create(
        channel=channel,
        message_id=outbox.new_message_id(),
        created_at=now,
        next_try_at=now,
        lease_until=now + sending.LEASE,
        attempts=1,
    )
    audit(team=channel.project.team, actor=actor, action="channel.tested", target=str(channel), of=channel)
    sending.send(delivery, now)
    delivery.refresh_from_db()
    return delivery
