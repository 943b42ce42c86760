"""https://github.com/getsentry/self-hosted/issues/3418

Without a mail server an invitation cannot be passed on, because its link is shown nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from teams.models import Invitation, Project, User

pytestmark = pytest.mark.django_db


def test_link_is_shown_and_joins_without_mail(
    settings: Settings, owner: User, project: Project, client_of: Callable[[User], Client]
) -> None:
    settings.EMAIL_CONFIGURED = False
    invited = {"team": project.team_id, "email": "new@example.com", "role": "member"}
    page = client_of(owner).post("/admin/teams/invitation/add/", invited).content.decode()
    assert "No mail server is configured" in page
    assert re.search(r"/accounts/invitation/[\w.:-]+/", page)
    assert Invitation.objects.get().email == "new@example.com"
