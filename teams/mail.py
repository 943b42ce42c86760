"""Mail to people of a team: an invitation, and what its owners must know."""

import logging
import smtplib

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.urls import reverse

from teams.models import Invitation, Team, User
from teams.roles import Role

log = logging.getLogger(__name__)


def invitation_url(token: str) -> str:
    return f"{settings.BASE_URL}{reverse('teams:invitation', args=[token])}"


def send_invitation(invitation: Invitation, url: str) -> bool:
    """Whether the mail went out. Not inside a transaction: a mail server may take seconds to answer."""
    text = render_to_string("teams/invitation_mail.txt", {"invitation": invitation, "url": url})
    subject = f"Join {invitation.team} on ClevAgent Watchdog"
    try:
        return send_mail(" ".join(subject.split()), text, None, [invitation.email]) > 0
    except (OSError, smtplib.SMTPException):
        return False


def tell_owners(team: Team, subject: str, text: str) -> None:
    """Send each owner of a team a mail; not inside a transaction. Never raises: a page must say the same."""
    people = User.objects.filter(memberships__team=team, memberships__role=Role.OWNER, is_active=True)
    for person in people:
        try:
            send_mail(" ".join(subject.split()), text, None, [person.email])
        except Exception as error:  # the mail server's troubles must not undo what was settled
            log.warning("An owner of team %s got no mail: %s", team.pk, type(error).__name__)
