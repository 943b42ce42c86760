"""Roles from claims, and lines of a form."""

from __future__ import annotations

from typing import Any

import pytest

from teams.roles import Role
from teams.sso.policy import claim_values, domain_of, format_roles, parse_roles, role_for

MAPPING = [["a", "viewer"], ["b", "admin"], ["c", "member"]]


@pytest.mark.parametrize(
    ("values", "default", "role"),
    [
        (["a", "b"], "viewer", Role.ADMIN),
        (["c", "a"], "", Role.MEMBER),
        (["z"], "member", Role.MEMBER),
        ([], "", None),
        (["B"], "viewer", Role.VIEWER),
    ],
)
def test_highest_role_wins(values: list[str], default: str, role: Role | None) -> None:
    assert role_for(values, MAPPING, default) is role


@pytest.mark.parametrize(
    ("claims", "path", "values"),
    [
        ({"groups": ["x", "y"]}, "groups", ("x", "y")),
        ({"group": "x"}, "group", ("x",)),
        ({"realm_access": {"roles": ["x"]}}, "realm_access.roles", ("x",)),
        ({"https://a.example/roles": ["x"]}, "https://a.example/roles", ("x",)),
        ({"groups": [{"name": "x"}, None, True, 7]}, "groups", ("7",)),
        ({"groups": "x"}, "groups.deeper", ()),
        ({"groups": ["x"]}, "", ()),
        ({}, "groups", ()),
    ],
)
def test_values_of_a_claim(claims: dict[str, Any], path: str, values: tuple[str, ...]) -> None:
    assert claim_values(claims, path) == values


def test_lines_are_read_and_written() -> None:
    assert parse_roles(" a=b = Admin \n\nc = viewer") == [["a=b", "admin"], ["c", "viewer"]]
    assert format_roles([["a=b", "admin"]]) == "a=b = admin"


@pytest.mark.parametrize("text", ["a", "= admin", "a = king", "a =", "x" * 201 + " = admin"])
def test_wrong_line_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="Line 1"):
        parse_roles(text)


@pytest.mark.parametrize(
    ("address", "domain"),
    [("A@Acme.Example", "acme.example"), ("a@b@evil.example", "evil.example"), ("nobody", ""), ("a@ ", "")],
)
def test_domain_of_an_address(address: str, domain: str) -> None:
    assert domain_of(address) == domain
