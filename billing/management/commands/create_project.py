"""`manage.py create_project`: a team, its owner, a project and a key in one step."""

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
    help = "Make a team, its owner and a project, where they are not there yet, and a new API key."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--team", required=True)
        parser.add_argument("--project", required=True)
        parser.add_argument("--owner", required=True, metavar="EMAIL")
        parser.add_argument("--plan", choices=list(plans.BY_KEY), help="Put the team on this plan.")
        parser.add_argument("--scope", choices=Scope.values, default=Scope.AGENT.value)
        parser.add_argument("--operator", action="store_true", help="Let the owner see the whole installation.")
        parser.add_argument("--json", action="store_true")

    def handle(self, **options: Any) -> None:
        with transaction.atomic():
            made = _create(**options)
        self.stdout.write(json.dumps(made) if options["json"] else _in_words(made))


def _create(*, team: str, project: str, owner: str, scope: str, **options: Any) -> dict[str, Any]:
    person = _owner(owner.strip().lower(), operator=options["operator"])
    held = _team(team, person)
    if options["plan"]:
        billing.set_plan(team=held, plan=options["plan"], actor=_ACTOR)
    place = Project.objects.filter(team=held, name=project).first() or services.create_project(
        team=held, name=project, actor=_ACTOR
    )
    _key, raw = services.issue_key(project=place, name="create_project", scope=scope, actor=person.email)
    return {
        "team": held.name,
        "project": place.name,
        "project_id": place.pk,
        "api_key": raw,
        "sign_in_url": sign_in_links.sign_in_url(person),
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
    """The owner's team of that name: someone else's of the same name is another team."""
    own = Team.objects.filter(name=name, memberships__user=owner, memberships__role=Role.OWNER.value)
    return own.first() or services.create_team(owner=owner, name=name)


def _in_words(made: dict[str, Any]) -> str:
    return (
        f"Team {made['team']}, project {made['project']} (id {made['project_id']})\n"
        f"API key, shown only now: {made['api_key']}\n"
        f"Sign in, once, within a day: {made['sign_in_url']}"
    )
