"""Who may do what in a team. Pure data: no Django, no clock.

A role includes everything the roles below it may do.
"""

from enum import StrEnum
from typing import Final


class Role(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"


# What each may do, for who chooses one.
EXPLAINED: Final[dict[str, str]] = {
    Role.OWNER: "everything, also the team itself: its name, owners, plan and deletion",
    Role.ADMIN: "all of a member, and projects, keys, members and invitations",
    Role.MEMBER: "looks after agents: acknowledges, pauses, restarts; sets agents and channels",
    Role.VIEWER: "sees everything and changes nothing",
}


class Action(StrEnum):
    VIEW = "view"  # see everything of the team
    OPERATE = "operate"  # acknowledge, resolve, pause, restart, stop, send a test
    CONFIGURE = "configure"  # agents' settings, channels
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
    """The roles that allow an action, for a query."""
    return [role for role, allowed in PERMISSIONS.items() if action in allowed]


_RANK: Final = (Role.VIEWER, Role.MEMBER, Role.ADMIN, Role.OWNER)


def may_assign(own: str | None, new: str, before: str | None = None) -> bool:
    """Whether someone of role `own` may make another a `new`, who was a `before` (None: nothing yet).

    Nobody gives a role above their own, and nobody touches someone above themselves.
    """
    if not may(own, Action.MANAGE):
        return False
    highest = _RANK.index(Role(str(own)))
    return all(_RANK.index(Role(role)) <= highest for role in (new, before) if role is not None)
