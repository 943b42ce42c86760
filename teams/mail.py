"""E-mail to people: invitations, and notices to a team's owners."""

import logging
import smtplib

from django.core.mail import send_mail
from django.template.loader import render_to_string

from teams.links import absolute
from teams.models import Invitation, Team, User
from teams.roles import Role

log = logging.getLogger(__name__)


def invitation_url(token: str) -> str:
    return absolute("teams:invitation", token)


def send_invitation(invitation: Invitation, url: str) -> bool:
    """Whether the e-mail was sent. Call outside a transaction: a mail server may take seconds to answer."""
    text = render_to_string("teams/invitation_mail.txt", {"invitation": invitation, "url": url})
    subject = f"Join {invitation.team} on ClevAgent Watchdog"
    try:
        return send_mail(" ".join(subject.split()), text, None, [invitation.email]) > 0
    except (OSError, smtplib.SMTPException):
        return False


def notify_owners(team: Team, subject: str, text: str) -> None:
    """E-mail every owner of a team. Call outside a transaction. Never raises; a page must show the same notice."""
    owners = User.objects.filter(memberships__team=team, memberships__role=Role.OWNER, is_active=True)
    for owner in owners:
        try:
            send_mail(" ".join(subject.split()), text, None, [owner.email])
        except Exception as error:  # a broken mail server must not undo what has been committed
            log.warning("Could not e-mail an owner of team %s: %s", team.pk, type(error).__name__)
