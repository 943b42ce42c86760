"""Changes to a project's policy, each recorded in the audit log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from django.db import transaction

from alerts import channels, policies
from alerts.models import Channel, Escalation, OnCall, Policy
from alerts.policies import PolicyError, Rule
from teams.errors import ApiError
from teams.models import Project
from teams.services import audit

_NO_CHANNEL: Final = "This project has no channel named “{}”."
_NO_ROTATION: Final = "This project has no on-call rotation named “{}”."
_NO_PERSON: Final = "No e-mail channel of this project sends to {}: add the address to one."


def rules_of(project: Project) -> tuple[Rule, ...]:
    """The rules of a project's policy; none without one."""
    policy = Policy.objects.filter(project=project).first()
    return policies.stored(policy.rules) if policy else ()


def check(project: Project, data: Any) -> tuple[Rule, ...]:
    """Rules as they would be saved. Raises ApiError 422 for what is invalid or names what this project doesn't have."""
    try:
        rules = policies.parse(data)
    except PolicyError as error:
        raise ApiError(422, "invalid", f"rules: {error}", fields={"rules": str(error)}) from None
    if unknown := problems(project, rules):
        raise ApiError(422, "invalid", " ".join(unknown), fields={"rules": " ".join(unknown)})
    return rules


def problems(project: Project, rules: Sequence[Rule]) -> list[str]:
    """What rules name that the project doesn't have, perhaps no longer."""
    channels_named = policies.targets(rules, lambda step: step.channels)
    people = policies.targets(rules, lambda step: step.people)
    on_call = policies.targets(rules, lambda step: step.on_call)
    existing = list(Channel.objects.filter(project=project).values_list("name", "kind", "config"))
    names = {name.lower() for name, _, _ in existing}
    addresses = {to.lower() for _, kind, config in existing for to in channels.recipients(kind, config)}
    rotations = {name.lower() for name in OnCall.objects.filter(project=project).values_list("name", flat=True)}
    return [
        *_missing(channels_named, names, _NO_CHANNEL),
        *_missing(people, addresses, _NO_PERSON),
        *_missing(on_call, rotations, _NO_ROTATION),
    ]


def _missing(named: Iterable[str], existing: set[str], text: str) -> list[str]:
    return [text.format(name) for name in sorted(named) if name.lower() not in existing]


@transaction.atomic
def save(*, project: Project, data: Any, actor: str, now: datetime) -> tuple[Rule, ...]:
    """Replace the policy. Incidents that are open keep their rule until they change. Raises what `check` raises."""
    rules = check(project, data)
    if not rules:
        delete(project=project, actor=actor)
        return rules
    stored = policies.as_json(rules)
    before = Policy.objects.select_for_update().filter(project=project).first()
    if before is None or before.rules != stored:
        Policy.objects.update_or_create(project=project, defaults={"rules": stored, "changed_at": now})
        _audit(project, actor, "policy.changed", **_differences(policies.stored(before.rules) if before else (), rules))
    return rules


def _differences(before: Sequence[Rule], after: Sequence[Rule]) -> dict[str, Any]:
    """The rules that are not as they were, in English, and the order if only that changed."""
    old, new = ({rule.name: policies.sentences(rule) for rule in rules} for rules in (before, after))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    changed = {name: {"from": old.get(name), "to": new.get(name)} for name in names}
    return changed or {"order": {"from": list(old), "to": list(new)}}


@transaction.atomic
def delete(*, project: Project, actor: str) -> None:
    """Delete the policy: alert routing decides again, and nothing escalates. Does nothing without one."""
    if Policy.objects.filter(project=project).delete()[0]:
        Escalation.objects.filter(incident__project=project).delete()
        _audit(project, actor, "policy.deleted")


def _audit(project: Project, actor: str, action: str, **data: Any) -> None:
    audit(team=project.team, actor=actor, action=action, target=str(project), of=project, data=data)
