"""Which key may report as which agent: keys for one agent, and names that belong to the key that first used them.

Any `agent` key can name any agent, so one stolen key would speak for all. A name belongs to a key and its successors
(`ApiKey.line`) until a person releases it, or until none of these keys works any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Coalesce

from agents.models import AgentName
from teams.auth import Caller
from teams.errors import ApiError
from teams.models import ApiKey

# A project's id and a name in it.
Name = tuple[int, str]


def is_for_another(caller: Caller, name: str) -> bool:
    """Whether the key is for one agent, and this is not its name."""
    return bool(caller.agent) and caller.agent != name


def owner_of(caller: Caller) -> int | None:
    """What a name that this key uses first is bound to."""
    return caller.line if caller.binds_names else None


def owns(caller: Caller, owner: int | None) -> bool:
    """Whether the key may use a name whose `bound_to` is `owner`."""
    return not caller.binds_names or owner == caller.line


def key_refusal(caller: Caller, name: str) -> ApiError:
    message = f"This API key is for the agent “{caller.agent}” only, not for “{name}”. Use that agent's own key."
    return ApiError(403, "other_agent", message)


def name_refusal(name: str) -> ApiError:
    message = (
        f"The name “{name}” belongs to another API key of this project. Use that key, choose another name, or release "
        "the name on the agent's page."
    )
    return ApiError(403, "name_bound", message)


def agents_of(caller: Caller, agent: str) -> Q:
    """A filter: the agents a key may speak for. `agent` is the lookup of the agent from the filtered row."""
    if not (caller.agent or caller.binds_names):
        return Q()
    names = AgentName.objects.filter(agent=OuterRef(agent))
    if caller.agent:
        names = names.filter(name=caller.agent)
    if caller.binds_names:
        names = names.filter(Q(bound_to=None) | Q(bound_to=caller.line))
    return Q(Exists(names))


def require_name(caller: Caller, name: str, now: datetime) -> None:
    """Raise ApiError 403 unless the key may report under a name, new or known."""
    if is_for_another(caller, name):
        raise key_refusal(caller, name)
    row = AgentName.objects.filter(project=caller.project_id, name=name).first()
    owner = row.bound_to if row else None
    if owner is not None and not owns(caller, owner) and in_force([owner], now):
        raise name_refusal(name)


def in_force(lines: Iterable[int], now: datetime) -> set[int]:
    """Those of these key lines that still have a key that works."""
    wanted = set(lines)
    if not wanted:
        return set()
    works = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=now))
    keys = ApiKey.objects.filter(works, Q(pk__in=wanted) | Q(first__in=wanted)).order_by()
    return set(keys.annotate(of=Coalesce("first", "pk")).values_list("of", flat=True))


def bind(wanted: Mapping[Name, Caller], now: datetime) -> None:
    """Give these names to the keys that report under them, unless a key that still works owns them."""
    wanted = {name: caller for name, caller in wanted.items() if caller.binds_names}
    if not wanted:
        return
    rows = _rows(wanted)
    kept = in_force((row.bound_to for row in rows if row.bound_to is not None), now)
    free = [row for row in rows if row.bound_to not in kept]
    for row in free:
        row.bound_to = wanted[row.project_id, row.name].line
    AgentName.objects.bulk_update(free, ["bound_to"])


def _rows(wanted: Mapping[Name, Caller]) -> list[AgentName]:
    projects, names = {project for project, _ in wanted}, {name for _, name in wanted}
    # The rows are locked: a person may release one of them at this moment.
    rows = AgentName.objects.select_for_update(of=("self",)).filter(project__in=projects, name__in=names)
    return [row for row in rows if (row.project_id, row.name) in wanted]
