"""`manage.py break_glass`: an owner's way in while the team's identity provider does not work."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from teams import sign_in_links
from teams.models import User
from teams.roles import Role
from teams.sso import services
from teams.sso.models import SingleSignOn


class Command(BaseCommand):
    help = (
        "Print a link that signs an owner in once, within an hour, although the team requires single sign-on. "
        "Use it when the identity provider does not work. It is written into the team's audit log."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", help="the owner's e-mail address")

    def handle(self, *args: Any, email: str, **options: Any) -> None:
        user = User.objects.filter(email__iexact=email, is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active account of {email}.")
        owned = SingleSignOn.objects.filter(team__memberships__user=user, team__memberships__role=Role.OWNER.value)
        connections = list(owned.select_related("team"))
        if not connections:
            raise CommandError(f"{email} owns no team with single sign-on.")
        for connection in connections:
            services.note_break_glass(connection, user)
        self.stdout.write(sign_in_links.sign_in_url(user, break_glass=True))
