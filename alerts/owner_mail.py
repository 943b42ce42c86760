"""Mail to a team's owners about the channels themselves."""

from typing import Final

from alerts.models import Channel
from teams.links import absolute
from teams.mail import notify_owners

_TEXT: Final = """\
Channel {channel} in project {project} ({team}) was disabled:

{reason}

It receives no more alerts. Fix the problem, re-enable it and send a test:
{url}
"""


def send_channel_disabled(channel: Channel, reason: str) -> None:
    """Tell the owners that a channel was disabled. Never raises: the channel's page shows the same."""
    project = channel.project
    url = absolute("admin:alerts_channel_change", channel.pk)
    text = _TEXT.format(channel=channel, project=project, team=project.team, reason=reason, url=url)
    notify_owners(project.team, f"Channel {channel.name} was disabled", text)
