"""E-mail to people: invitations, and notices to a team's owners."""

import logging
import re
import smtplib
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string

from teams.links import absolute
from teams.models import Invitation, Team, User
from teams.roles import Role

# Anybody can name a team and invite a stranger to it, so the subject has no words of theirs.
INVITATION_SUBJECT: Final = "You are invited to a team on ClevAgent Watchdog"
# A dot or a scheme that makes mail programs turn text into a link.
LINK_MARK: Final = re.compile(r"(?<=\S)\.(?=\S)|:(?=//)|(?<=\S)@(?=\S)")
log = logging.getLogger(__name__)
# Mails in files, which only embedded installations without a mail server write.
KEEP_FILES: Final = timedelta(days=7)


def invitation_url(token: str) -> str:
    return absolute("teams:invitation", token)


def harmless(name: str) -> str:
    """A name that somebody chose, for a mail to strangers: on one line, and no link. `acme.io` becomes `acme[.]io`."""
    return LINK_MARK.sub(lambda mark: f"[{mark.group()}]", " ".join(name.split()))


def send_invitation(invitation: Invitation, url: str) -> bool:
    """Whether the e-mail was sent. Call outside a transaction: a mail server may take seconds to answer."""
    names = {"team": harmless(str(invitation.team)), "by": harmless(str(invitation.invited_by or ""))}
    text = render_to_string("teams/invitation_mail.txt", {"invitation": invitation, "url": url, **names})
    try:
        return send_mail(INVITATION_SUBJECT, text, None, [invitation.email]) > 0
    except (OSError, smtplib.SMTPException):
        return False


def notify_owners(team: Team, subject: str, text: str) -> bool:
    """E-mail every owner of a team. Call outside a transaction. Never raises; a page must show the same notice.

    Returns whether the mail server took a mail, or had none to take.
    """
    owners = User.objects.filter(memberships__team=team, memberships__role=Role.OWNER, is_active=True)
    failed = 0
    for owner in owners:
        try:
            send_mail(" ".join(subject.split()), text, None, [owner.email])
        except Exception as error:  # a broken mail server must not undo what has been committed
            failed += 1
            log.warning("Could not e-mail an owner of team %s: %s", team.pk, type(error).__name__)
    return failed == 0 or failed < len(owners)


def purge_files() -> None:
    """Delete mails older than a week that were written to files for lack of a mail server: they hold sign-in links."""
    folder = Path(getattr(settings, "EMAIL_FILE_PATH", "") or "")
    if settings.EMAIL_CONFIGURED or not folder.is_dir():
        return
    oldest = time.time() - KEEP_FILES.total_seconds()
    for file in folder.iterdir():
        with suppress(OSError):
            if file.is_file() and not file.is_symlink() and file.stat().st_mtime < oldest:
                file.unlink()
