"""Mail to a team's owners about the channels themselves."""

from typing import Final

from django.conf import settings
from django.urls import reverse

from alerts.models import Channel
from teams.mail import notify_owners

_TEXT: Final = """\
The channel {channel} of the project {project} ({team}) was switched off:

{reason}

No alerts go there until somebody switches it on again:
{url}
"""


def tell_switched_off(channel: Channel, reason: str) -> None:
    """Tell the owners that alerts no longer go to this channel. Never raises: the channel's page says the same."""
    project = channel.project
    url = settings.BASE_URL + reverse("admin:alerts_channel_change", args=[channel.pk])
    text = _TEXT.format(channel=channel, project=project, team=project.team, reason=reason, url=url)
    notify_owners(project.team, f"Alerts to {channel.name} are switched off", text)
