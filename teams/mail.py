"""The one mail that teams send themselves: an invitation."""

import smtplib

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.urls import reverse

from teams.models import Invitation


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
