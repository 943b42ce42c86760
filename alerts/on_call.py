"""The on-call rotations of a project: changed, each recorded in the audit log, and asked who is on call."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from django.core import signing
from django.db import transaction

from alerts import channels, rotations
from alerts.models import Channel, OnCall
from alerts.policies import as_json
from alerts.rotations import Rotation, RotationError
from teams.errors import ApiError
from teams.links import absolute
from teams.models import Project
from teams.services import audit

MAX_ROTATIONS: Final = 50
MAX_NAME: Final = 100
_FEED: Final = "alerts.on-call"


def find(project_id: int, name: str) -> OnCall:
    """Raises ApiError 404."""
    row = OnCall.objects.filter(project=project_id, name=name).select_related("project__team").first()
    if row is None:
        raise ApiError(404, "not_found", f"This project has no rotation named “{name[:MAX_NAME]}”.")
    return row


def rotation_of(row: OnCall) -> Rotation:
    return rotations.parse(row.rotation)


def people_on_call(project_id: int, names: Collection[str], at: datetime) -> set[str]:
    """Who is on call in these rotations."""
    wanted = {name.lower() for name in names}
    rows = OnCall.objects.filter(project=project_id) if wanted else ()
    return {rotations.on_call(rotation_of(row), at) for row in rows if row.name.lower() in wanted} - {""}


@transaction.atomic
def save(*, project: Project, name: str, data: Any, actor: str) -> OnCall:
    """Create or replace a rotation. Raises ApiError 422, also for people whom no e-mail channel sends to."""
    rotation = _check(project, name, data)
    stored = as_json(rotation)
    before = OnCall.objects.select_for_update().filter(project=project, name=name).first()
    if before is not None and before.rotation == stored:
        return before
    if before is None and OnCall.objects.filter(project=project).count() >= MAX_ROTATIONS:
        raise ApiError(422, "invalid", f"A project has at most {MAX_ROTATIONS} rotations.")
    row, _ = OnCall.objects.update_or_create(project=project, name=name, defaults={"rotation": stored})
    _audit(row, actor, "rotation.changed", _differences(before.rotation if before else {}, stored))
    return row


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return {name: {"from": before.get(name), "to": after.get(name)} for name in names}


def _check(project: Project, name: str, data: Any) -> Rotation:
    if not name.strip() or len(name) > MAX_NAME or "\0" in name:
        raise _invalid("name", f"A name has 1 to {MAX_NAME} characters.")
    try:
        rotation = rotations.parse(data)
    except RotationError as error:
        raise _invalid("rotation", str(error)) from None
    existing = Channel.objects.filter(project=project).values_list("kind", "config")
    known = {to.lower() for kind, config in existing for to in channels.recipients(kind, config)}
    unknown = sorted(person for person in rotations.people_of(rotation) if person.lower() not in known)
    if unknown:
        raise _invalid("people", f"No e-mail channel of this project sends to {', '.join(unknown)[:300]}.")
    return rotation


def _invalid(field: str, message: str) -> ApiError:
    return ApiError(422, "invalid", message, fields={field: message})


@transaction.atomic
def delete(*, row: OnCall, actor: str) -> None:
    """Steps of the policy that name it notify nobody from now on; the policy's page points that out."""
    _audit(row, actor, "rotation.deleted")
    row.delete()


def feed_url(row: OnCall) -> str:
    """The calendar of a rotation, for whoever knows its address. It ends with the rotation."""
    return absolute("on_call_feed", signing.dumps(row.pk, salt=_FEED))


def of_feed(token: str) -> OnCall:
    """Raises ApiError 404."""
    try:
        key = signing.loads(token, salt=_FEED)
    except signing.BadSignature:
        key = 0
    row = OnCall.objects.filter(pk=key, project__team__ended_at=None).select_related("project").first()
    if row is None:
        raise ApiError(404, "not_found", "This calendar no longer exists.")
    return row


def _audit(row: OnCall, actor: str, action: str, data: dict[str, Any] | None = None) -> None:
    audit(team=row.project.team, actor=actor, action=action, target=str(row), of=row, data=data)
