"""What each team role can do. Pure data: no Django, no clock.

A role includes everything that the roles below it can do.
"""

from enum import StrEnum
from typing import Final


class Role(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"


# Shown wherever a role is selected.
DESCRIPTIONS: Final[dict[str, str]] = {
    Role.OWNER: "full access, including the team’s name, owners, plan and deletion",
    Role.ADMIN: "everything a member can do; manages projects, API keys, members and invitations",
    Role.MEMBER: "acknowledges incidents, pauses and restarts agents, edits agent settings and channels",
    Role.VIEWER: "read-only access",
}


class Action(StrEnum):
    VIEW = "view"  # see everything in the team
    OPERATE = "operate"  # acknowledge, resolve, pause, restart, stop, send a test alert
    CONFIGURE = "configure"  # agent settings, channels
    MANAGE = "manage"  # projects, keys, members, invitations
    OWN = "own"  # the team itself: name, deletion, owners, plan


_VIEWER: Final = frozenset({Action.VIEW})
_MEMBER: Final = _VIEWER | {Action.OPERATE, Action.CONFIGURE}
_ADMIN: Final = _MEMBER | {Action.MANAGE}
_OWNER: Final = _ADMIN | {Action.OWN}

PERMISSIONS: Final[dict[str, frozenset[Action]]] = {
    Role.VIEWER: _VIEWER,
    Role.MEMBER: _MEMBER,
    Role.ADMIN: _ADMIN,
    Role.OWNER: _OWNER,
}


def may(role: str | None, action: Action) -> bool:
    """Whether a role (None: not a member) allows an action."""
    return role is not None and action in PERMISSIONS.get(role, frozenset())


def roles_with(action: Action) -> list[str]:
    """The roles that allow an action, for use in a query."""
    return [role for role, allowed in PERMISSIONS.items() if action in allowed]


_RANK: Final = (Role.VIEWER, Role.MEMBER, Role.ADMIN, Role.OWNER)


def may_assign(own: str | None, new: str, before: str | None = None) -> bool:
    """Whether someone with role `own` can change a person's role from `before` (None: not a member) to `new`.

    Nobody can assign a role above their own or change someone who ranks above them.
    """
    if not may(own, Action.MANAGE):
        return False
    own_rank = _RANK.index(Role(str(own)))
    return all(_RANK.index(Role(role)) <= own_rank for role in (new, before) if role is not None)
