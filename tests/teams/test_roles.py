import pytest

from teams.roles import Action, Role, may, may_assign, roles_with


@pytest.mark.parametrize(
    ("action", "roles"),
    [
        (Action.VIEW, {"viewer", "member", "admin", "owner"}),
        (Action.OPERATE, {"member", "admin", "owner"}),
        (Action.CONFIGURE, {"member", "admin", "owner"}),
        (Action.MANAGE, {"admin", "owner"}),
        (Action.OWN, {"owner"}),
    ],
)
def test_roles_per_action(action: Action, roles: set[str]) -> None:
    assert set(roles_with(action)) == roles
    assert not may(None, action)
    assert not may("emperor", action)


@pytest.mark.parametrize(
    ("own", "new", "before", "allowed"),
    [
        (Role.OWNER, Role.OWNER, None, True),
        (Role.OWNER, Role.VIEWER, Role.OWNER, True),
        (Role.ADMIN, Role.ADMIN, None, True),
        (Role.ADMIN, Role.OWNER, None, False),
        (Role.ADMIN, Role.VIEWER, Role.OWNER, False),
        (Role.MEMBER, Role.VIEWER, None, False),
        (Role.VIEWER, Role.VIEWER, Role.VIEWER, False),
        (None, Role.VIEWER, None, False),
    ],
)
def test_nobody_assigns_above_own_rank(own: str | None, new: str, before: str | None, allowed: bool) -> None:
    assert may_assign(own, new, before) is allowed
