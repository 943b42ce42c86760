"""All kinds of channel, in the order in which they are offered."""

from typing import Final

from alerts.channels import email, slack, webhook
from alerts.channels.base import ChannelKind

ALL: Final[tuple[ChannelKind, ...]] = (email, slack, webhook)
BY_KIND: Final[dict[str, ChannelKind]] = {kind.KIND: kind for kind in ALL}
