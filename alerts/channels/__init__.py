"""All kinds of channel, in the order in which they are offered."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from alerts.channels import (
    alertmanager,
    discord,
    email,
    googlechat,
    gotify,
    matrix,
    mattermost,
    ntfy,
    opsgenie,
    pagerduty,
    pushover,
    rocketchat,
    slack,
    teams,
    telegram,
    webhook,
)
from alerts.channels.base import ChannelKind, Personal

ALL: Final[tuple[ChannelKind, ...]] = (
    *(email, slack, discord, telegram, ntfy, teams, googlechat, mattermost, rocketchat, matrix),
    *(pushover, gotify, pagerduty, opsgenie, alertmanager, webhook),
)
BY_KIND: Final[dict[str, ChannelKind]] = {kind.KIND: kind for kind in ALL}


def recipients(kind: str, config: Mapping[str, Any]) -> Sequence[str]:
    """To whom a channel sends, each with a notification of their own; one empty name if it has no recipients."""
    channel = BY_KIND[kind]
    return channel.recipients(config) if isinstance(channel, Personal) else ("",)
