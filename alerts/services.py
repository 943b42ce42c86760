"""Changes to channels, each recorded in the audit log. `actor` is a person's e-mail address or `key:PREFIX`.

What is not possible raises `teams.errors.ApiError`: 422 with the invalid field, 403 if the plan's limit is reached.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypedDict, Unpack

import msgspec
from django.db import transaction

from alerts import channels, leases, outbox, outcomes, owner_notices, sending
from alerts.channels.base import ConfigError
from alerts.leases import Batch
from alerts.models import Channel, Delivery
from billing import limits
from teams import rate_limits
from teams.errors import ApiError
from teams.models import Project
from teams.services import audit

AUDITED_FIELDS: Final = ("name", "config", "enabled", "severity", "labels")


class Route(TypedDict, total=False):
    severity: str
    labels: Mapping[str, str]


class Changes(Route, total=False):
    name: str
    config: Mapping[str, Any]
    enabled: bool


@transaction.atomic
def create_channel(
    *, project: Project, kind: str, name: str, config: Mapping[str, Any], actor: str, **route: Unpack[Route]
) -> tuple[Channel, str | None]:
    """Add a channel. `route` may hold `severity` and `labels`; without them it receives all alerts for all agents.

    The second value is the generated secret, if the kind has one: it is shown now and never again.
    """
    generated = channels.BY_KIND[kind].generate()
    validated = _validated(kind, {**config, **generated})
    limits.require_room(team_id=project.team_id, what="channels")
    channel = Channel.objects.create(project=project, kind=kind, name=name, config=validated, **route)
    _audit(channel, actor, "channel.created", kind=kind)
    return channel, generated.get("secret")


def _validated(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The config as stored: only the settings of this kind."""
    try:
        parsed: dict[str, Any] = msgspec.to_builtins(channels.BY_KIND[kind].parse(config))
    except ConfigError as error:
        raise ApiError(422, "invalid", str(error), fields={f"config.{error.field}": str(error)}) from None
    return parsed


@transaction.atomic
def change_channel(*, channel: Channel, actor: str, now: datetime, **changes: Unpack[Changes]) -> Channel:
    """Change the given fields.

    Settings missing from `config` stay, and so does a generated secret. A new address or re-enabling clears the
    channel's past failures.
    """
    channel = Channel.objects.select_for_update(no_key=True).get(pk=channel.pk)
    before = {name: getattr(channel, name) for name in AUDITED_FIELDS}
    if "config" in changes:
        changes["config"] = _merged_config(channel, changes["config"])
    for name, value in changes.items():
        setattr(channel, name, value)
    changed = [name for name, old in before.items() if old != getattr(channel, name)]
    if changed:
        _save_changes(channel, changed, actor, now)
        _audit_changes(channel, {name: before[name] for name in changed}, actor)
    return channel


def _merged_config(channel: Channel, config: Mapping[str, Any]) -> dict[str, Any]:
    generated = channels.BY_KIND[channel.kind].generate().keys()
    entered = {name: value for name, value in config.items() if name not in generated}
    return _validated(channel.kind, {**channel.config, **entered})


def _save_changes(channel: Channel, changed: list[str], actor: str, now: datetime) -> None:
    if "enabled" in changed:
        # In both directions: whatever was still being sent when it was disabled is outdated by now.
        outcomes.cancel_waiting(channel, now)
        channel.disabled_reason = "" if channel.enabled else f"by {actor}"
    if {"config", "enabled"} & set(changed):
        channel.failing_since = channel.retry_at = None
        channel.failures, channel.last_error = 0, ""
        outcomes.retry_now(channel, now)
    if "config" in changed:
        _drop_removed_recipients(channel, now)
    channel.save()


def _drop_removed_recipients(channel: Channel, now: datetime) -> None:
    """Cancel what waits for people who were removed from the channel, and forget their refusals."""
    present = [*channels.recipients(channel.kind, channel.config), ""]
    channel.refused = {name: why for name, why in channel.refused.items() if name in present}
    removed = channel.deliveries.unleased(now).exclude(recipient__in=present)
    removed.update(state=Delivery.State.SKIPPED, last_error="Removed from the channel.", lease_until=None)


@transaction.atomic
def leave(*, channel: Channel, address: str, now: datetime) -> None:
    """Take an address out of an e-mail channel at its own request; the team's owners are notified.

    Without any address left, the channel is disabled. Does nothing if it no longer has the address.
    """
    channel = Channel.objects.select_for_update(no_key=True).get(pk=channel.pk)
    present: list[str] = channel.config.get("to", [])
    if address not in present or not channel.enabled:
        return
    others = [each for each in present if each != address]
    changes: Changes = {"config": {"to": others}} if others else {"enabled": False}
    change_channel(channel=channel, actor=address, now=now, **changes)
    owner_notices.recipient_left(channel, address)


def _audit_changes(channel: Channel, before: Mapping[str, Any], actor: str) -> None:
    """`before` has what changed, as it was."""
    if "enabled" in before:
        _audit(channel, actor, "channel.switched_on" if channel.enabled else "channel.switched_off")
    data = {name: _difference(name, old, getattr(channel, name)) for name, old in before.items() if name != "enabled"}
    if data:
        _audit(channel, actor, "channel.changed", **data)


def _difference(name: str, before: Any, after: Any) -> dict[str, Any]:
    """Addresses of people are shown. Whatever else a channel is configured with may be a secret: only its name is."""
    if name != "config":
        return {"from": before, "to": after}
    changed = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    return {key: {"from": before.get(key), "to": after.get(key)} if key == "to" else "replaced" for key in changed}


def _audit(channel: Channel, actor: str, action: str, **data: Any) -> None:
    audit(team=channel.project.team, actor=actor, action=action, target=str(channel), of=channel, data=data)


@transaction.atomic
def delete_channel(*, channel: Channel, actor: str) -> None:
    """Delete a channel and its deliveries."""
    audit(team=channel.project.team, actor=actor, action="channel.deleted", target=str(channel))
    channel.delete()


def disable_channels(team_id: int) -> None:
    """Disable all channels of a team that was deleted."""
    Channel.objects.filter(project__team=team_id).update(enabled=False)


@transaction.atomic
def rotate_secret(*, channel: Channel, actor: str) -> str:
    """Generate a new secret and sign with it from now on. It is returned once and never shown again.

    Receivers reject messages until they know the new secret; those are retried for 24 hours. Raises 409 `no_secret`
    for kinds without a secret.
    """
    generated = channels.BY_KIND[channel.kind].generate()
    if "secret" not in generated:
        raise ApiError(409, "no_secret", f"{channel.get_kind_display()} channels have no secret.")
    channel = Channel.objects.select_for_update(no_key=True).get(pk=channel.pk)
    channel.config = _validated(channel.kind, {**channel.config, **generated})
    channel.save(update_fields=["config"])
    _audit(channel, actor, "channel.secret_rotated")
    return generated["secret"]


def _spend_test(channel: Channel, actor: str, now: datetime) -> None:
    """A test reaches whomever the channel names, so it is limited for them, too."""
    with transaction.atomic():
        rate_limits.spend(rate_limits.TESTS_OF_CHANNEL, channel.pk, now)
        rate_limits.spend(rate_limits.TESTS_BY_PERSON, actor, now)
        rate_limits.spend(rate_limits.TESTS_OF_TEAM, channel.project.team_id, now)
        for address in filter(None, channels.recipients(channel.kind, channel.config)):
            rate_limits.spend(rate_limits.TEST_MAILS_TO_ADDRESS, address.lower(), now)


def send_test(*, channel: Channel, actor: str, now: datetime) -> Delivery:
    """Send a test immediately, even if the channel is disabled. It is tried once; the delivery holds the result.

    Takes as long as the channel does, up to about 10 seconds: call it outside any transaction.
    Raises ApiError 429 `rate_limited` for too many tests by this person or key, of this channel, of this team, or to
    one of its addresses.
    """
    _spend_test(channel, actor, now)
    delivery = Delivery.objects.create(
        channel=channel,
        message_id=outbox.new_message_id(),
        created_at=now,
        next_try_at=now,
        lease_until=now + leases.LEASE,
        attempts=1,
    )
    _audit(channel, actor, "channel.tested")
    sending.send_now(Batch(channel, [delivery], delivery.lease_until or now), now)
    delivery.refresh_from_db()
    return delivery
