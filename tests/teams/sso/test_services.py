"""Proof of a domain by a file."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from alerts.channels.http import Reply
from teams.errors import ApiError
from teams.models import AuditEntry, Team, User
from teams.sso import services
from teams.sso.models import SignInDomain

pytestmark = pytest.mark.django_db


@pytest.fixture
def row(team: Team, owner: User) -> SignInDomain:
    now = timezone.now()
    made = services.create(team=team, values={"name": "Acme"}, by=owner, now=now)
    return services.add_domain(connection=made, domain="acme.example", by=owner, now=now)


def answer(monkeypatch: pytest.MonkeyPatch, status: int, body: str) -> list[str]:
    asked: list[str] = []

    def fetch(method: str, url: str, *_: Any) -> Reply:
        asked.append(f"{method} {url}")
        return Reply(status, body.encode(), None)

    monkeypatch.setattr("alerts.outgoing.fetch", fetch)
    return asked


def test_file_proves_the_domain(monkeypatch: pytest.MonkeyPatch, row: SignInDomain, owner: User) -> None:
    asked = answer(monkeypatch, 200, f"{services.proof_text(row)}\r\nmore")
    services.prove_domain(row=row, by=owner, now=timezone.now())
    assert asked == ["GET https://acme.example/.well-known/clevagent-sign-in.txt"]
    row.refresh_from_db()
    assert (row.verified_at is not None, row.verified_by) == (True, owner.email)
    assert AuditEntry.objects.get(action="sign_on.domain_proven").data == {"how": "file"}


@pytest.mark.parametrize(("status", "body"), [(404, ""), (302, "x"), (200, ""), (200, "clevagent-sign-in=wrong")])
def test_anything_else_does_not(
    monkeypatch: pytest.MonkeyPatch, row: SignInDomain, owner: User, status: int, body: str
) -> None:
    answer(monkeypatch, status, body)
    with pytest.raises(ApiError, match=r"acme\.example"):
        services.prove_domain(row=row, by=owner, now=timezone.now())
    row.refresh_from_db()
    assert row.verified_at is None


def test_private_address_proves_nothing(row: SignInDomain, owner: User) -> None:
    SignInDomain.objects.update(domain="127.0.0.1")
    row.refresh_from_db()
    with pytest.raises(ApiError, match="private addresses"):
        services.prove_domain(row=row, by=owner, now=timezone.now())
