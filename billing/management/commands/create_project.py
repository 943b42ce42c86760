"""`manage.py create_project`: create a team, its owner, a project and an API key in one step."""

import json
from typing import Any

from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_email
from django.db import transaction

from billing import plans
from billing import services as billing
from teams import services, sign_in_links
from teams.models import Project, Scope, Team, User
from teams.roles import Role

_ACTOR = "manage.py"


class Command(BaseCommand):
    help = "Create a team, its owner and a project unless they exist, and a new API key."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--team", required=True)
        parser.add_argument("--project", required=True)
        parser.add_argument("--owner", required=True, metavar="EMAIL")
        parser.add_argument("--plan", choices=list(plans.BY_KEY), help="Put the team on this plan.")
        parser.add_argument("--scope", choices=Scope.values, default=Scope.AGENT.value)
        parser.add_argument(
            "--operator", action="store_true", help="Make the owner an operator of the whole installation."
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, **options: Any) -> None:
        with transaction.atomic():
            account = _create(**options)
        self.stdout.write(json.dumps(account) if options["json"] else _as_text(account))


def _create(*, team: str, project: str, owner: str, scope: str, **options: Any) -> dict[str, Any]:
    person = _owner(owner.strip().lower(), operator=options["operator"])
    own_team = _team(team, person)
    if options["plan"]:
        billing.set_plan(team=own_team, plan=options["plan"], actor=_ACTOR)
    elif options["operator"] or not Team.objects.exclude(pk=own_team.pk).exists():
        # Whoever creates the first team here runs the installation.
        billing.lift_limits(operator=person, actor=_ACTOR)
    own_project = Project.objects.filter(team=own_team, name=project).first() or services.create_project(
        team=own_team, name=project, actor=_ACTOR
    )
    _key, raw = services.issue_key(project=own_project, name="setup", scope=scope, actor=person.email)
    return {
        "team": own_team.name,
        "project": own_project.name,
        "project_id": own_project.pk,
        "api_key": raw,
        "sign_in_url": sign_in_links.sign_in_url(person),
        "ping_key": own_project.ping_key,
    }


def _owner(email: str, *, operator: bool) -> User:
    try:
        validate_email(email)
    except ValidationError:
        raise CommandError(f"{email} is not an e-mail address.") from None
    person = User.objects.filter(email=email).first() or User.objects.create_user(email)
    address, _ = EmailAddress.objects.get_or_create(user=person, email=email, defaults={"primary": True})
    if not address.verified:
        address.set_verified()
    if operator and not person.is_superuser:
        person.is_superuser = person.is_staff = True
        person.save(update_fields=["is_superuser", "is_staff"])
    return person


def _team(name: str, owner: User) -> Team:
    """The owner's team with this name. Another person's team with the same name is a different one."""
    own = Team.objects.filter(name=name, memberships__user=owner, memberships__role=Role.OWNER.value)
    return own.first() or services.create_team(owner=owner, name=name)


def _as_text(account: dict[str, Any]) -> str:
    return (
        f"Team {account['team']}, project {account['project']} (id {account['project_id']})\n"
        f"API key (you won't see it again): {account['api_key']}\n"
        f"Ping key for jobs: {account['ping_key']}\n"
        f"One-time sign-in link (valid 1 h): {account['sign_in_url']}"
    )
