"""E-mail to people: invitations, notices to a team's owners, and what concerns the safety of an account."""

import logging
import re
import smtplib
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import Q
from django.template.loader import render_to_string

from teams.links import absolute
from teams.models import ApiKey, Invitation, Team, User
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
    addresses = list(owners.values_list("email", flat=True))
    sent = [_sent(address, subject, text) for address in addresses]
    return any(sent) or not addresses


def _sent(address: str, subject: str, text: str) -> bool:
    try:
        send_mail(" ".join(subject.split()), text, None, [address])
    except Exception as error:  # a broken mail server must not undo what has been committed
        log.warning("Could not send an e-mail about %r: %s", subject, type(error).__name__)
        return False
    return True


def tell_of_sign_in(user: User, *, address: str, browser: str, at: datetime) -> None:
    """Tell a person of a sign-in from somewhere new. Never raises."""
    context = {"address": address, "browser": browser, "at": at, "url": absolute("teams:sessions")}
    text = render_to_string("teams/sign_in_mail.txt", context)
    _sent(user.email, "New sign-in to ClevAgent Watchdog", text)


def tell_of_key(key: ApiKey, actor: str) -> None:
    """Tell the owners of a team, and whoever created it, of a new API key. Call after the commit. Never raises."""
    url = absolute("admin:teams_apikey_change", key.pk)
    text = render_to_string("teams/key_mail.txt", {"key": key, "actor": actor, "url": url})
    owners = Q(memberships__team=key.project.team_id, memberships__role=Role.OWNER)
    for person in User.objects.filter(owners | Q(pk=key.created_by_id), is_active=True).distinct():
        _sent(person.email, f"New API key for {key.project}", text)


def send_receipt(receipt: dict[str, Any]) -> None:
    """Tell the owners that their team was deleted. Call after the commit. Never raises."""
    text = render_to_string("teams/deletion_receipt.txt", receipt)
    for address in receipt["addresses"]:
        _sent(address, f"{receipt['team']} was deleted", text)


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
