"""Mail to a team's owners about the channels themselves."""

import logging
from typing import Final

from django.conf import settings
from django.core.mail import send_mail
from django.urls import reverse

from alerts.models import Channel
from teams.models import User
from teams.roles import Role

log = logging.getLogger(__name__)

_TEXT: Final = """\
The channel {channel} of the project {project} ({team}) was switched off:

{reason}

No alerts go there until somebody switches it on again:
{url}
"""


def tell_switched_off(channel: Channel, reason: str) -> None:
    """Tell the owners that alerts no longer go to this channel. Never raises: the channel's page says the same."""
    project = channel.project
    people = User.objects.filter(memberships__team=project.team, memberships__role=Role.OWNER, is_active=True)
    url = settings.BASE_URL + reverse("admin:alerts_channel_change", args=[channel.pk])
    text = _TEXT.format(channel=channel, project=project, team=project.team, reason=reason, url=url)
    subject = " ".join(f"Alerts to {channel.name} are switched off".split())
    for person in people:
        try:
            send_mail(subject, text, None, [person.email])
        except Exception as error:  # the mail server's troubles must not undo what was settled
            log.warning("An owner could not be told that channel %s is off: %s", channel.pk, type(error).__name__)
