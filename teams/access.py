"""What the person behind a request can do, by team. The operator (`is_superuser`) can do everything everywhere."""

from typing import Any

from django.db import models
from django.http import HttpRequest

from teams.models import Membership, Team, User, second_factors
from teams.roles import Action, may


def is_operator(request: HttpRequest) -> bool:
    return isinstance(request.user, User) and request.user.is_active and request.user.is_superuser


def teams_of(user: Any, action: Action = Action.VIEW) -> models.QuerySet[Team]:
    """The teams in which a person can do `action`; every team for the operator."""
    if not isinstance(user, User):
        return Team.objects.none()
    return Team.objects.active() if user.is_superuser else Team.objects.allowing(user, action)


def roles_of(request: HttpRequest) -> dict[int, str]:
    """Team id -> role of the signed-in person; one query per request.

    Leaves out teams that require a second factor which the person does not have.
    """
    roles: dict[int, str] | None = getattr(request, "_roles", None)
    if roles is None:
        memberships = Membership.objects.filter(user_id=request.user.pk or 0).order_by()
        rows = list(memberships.values_list("team_id", "role", "team__require_second_factor"))
        strict = any(required for _, _, required in rows) and not second_factors(request.user.pk).exists()
        vouched = getattr(request.user, "vouched_teams", ())
        roles = {team: role for team, role, required in rows if not (required and strict) or team in vouched}
        request._roles = roles  # type: ignore[attr-defined]
    return roles


def closed_teams(user: User) -> list[Team]:
    """The person's teams that they cannot open before they set up a second factor."""
    if second_factors(user.pk).exists():
        return []
    strict = Team.objects.active().filter(memberships__user=user, require_second_factor=True)
    return list(strict.exclude(pk__in=user.vouched_teams))


def allowed(request: HttpRequest, action: Action | None, team_id: int | None = None) -> bool:
    """Whether the person can do `action` in a team, or (`team_id` None) in any of their teams.

    `action` None means that nobody can.
    """
    user = request.user
    if action is None or not isinstance(user, User) or not user.is_active:
        return False
    if user.is_superuser:
        return True
    roles = roles_of(request)
    return may(roles.get(team_id), action) if team_id is not None else any(may(r, action) for r in roles.values())
