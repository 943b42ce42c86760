"""Who a provider says somebody is, and which role follows from it. Pure: no Django, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from teams.roles import Role

# How a provider says, in `amr`, that more than one factor was used (RFC 8176).
STRONG_METHOD: Final = "mfa"
# SAML's names for the same, in `AuthnContextClassRef`.
STRONG_CONTEXTS: Final = frozenset(
    {
        "https://refeds.org/profile/mfa",
        "http://schemas.microsoft.com/claims/multipleauthn",
        "urn:oasis:names:tc:SAML:2.0:ac:classes:MobileTwoFactorContract",
    }
)
# In the order of what they allow.
_RANK: Final = (Role.VIEWER, Role.MEMBER, Role.ADMIN, Role.OWNER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a provider asserted about a person, after its signature was checked.

    `uid` never changes at the provider, `verified` says that the address is theirs, `values` decide about the role,
    and `strong` says that a second factor was used.
    """

    uid: str
    email: str
    verified: bool
    name: str = ""
    values: tuple[str, ...] = ()
    strong: bool = False

    @property
    def domain(self) -> str:
        return domain_of(self.email)


def domain_of(address: str) -> str:
    """The part after the last @, in lowercase; empty without one."""
    return address.strip().rpartition("@")[2].lower() if "@" in address else ""


def is_true(value: object) -> bool:
    """Some providers send booleans as text or as numbers."""
    return value is True or value == 1 or str(value).lower() == "true"


def claim_values(claims: Mapping[str, Any], path: str) -> tuple[str, ...]:
    """The values of a claim as texts. `realm_access.roles` leads into nested claims; names with dots come first."""
    found: Any = claims.get(path) if path else None
    if found is None and path:
        found = claims
        for step in path.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
    values = found if isinstance(found, list | tuple) else [found]
    return tuple(str(value) for value in values if isinstance(value, str | int) and not isinstance(value, bool))


def role_for(values: Iterable[str], mapping: Sequence[Sequence[str]], default: str) -> Role | None:
    """The highest role that the values give, else the default. None: neither, so the person must not enter."""
    wanted = set(values)
    given = [Role(role) for value, role in mapping if value in wanted]
    if given:
        return max(given, key=_RANK.index)
    return Role(default) if default else None


def parse_roles(text: str) -> list[list[str]]:
    """Lines such as `engineering = admin`. Raises ValueError, saying which line is wrong."""
    pairs: list[list[str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        value, separator, role = (part.strip() for part in line.rpartition("="))
        if not (separator and 0 < len(value) <= 200 and role.lower() in set(Role)):
            raise ValueError(f"Line {number}: write a value and a role, such as engineering = admin.")
        pairs.append([value, role.lower()])
    if len(pairs) > 100:
        raise ValueError("At most 100 lines.")
    return pairs


def format_roles(pairs: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"{value} = {role}" for value, role in pairs)
