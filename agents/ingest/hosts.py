"""The host that an agent runs on, as far as it says. Pure: no Django, no clock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

# As `ingest/reporter.py` cuts sources.
MAX_LENGTH: Final = 80
LABELS: Final = ("host", "hostname", "host.name", "node")
# As our client builds it (host, process id, random digits), as OpenTelemetry's examples do, and as Celery does.
_INSTANCES: Final = tuple(
    map(re.compile, (r"(?P<host>.+)-\d+-[0-9a-f]+", r"(?P<host>[^@:/]+):\d+", r"[^@]+@(?P<host>[^@:/]+)(?:[:/].*)?"))
)
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# The host name of a container that was given none: its id. It says nothing about the machine.
_CONTAINER_ID: Final = re.compile(r"[0-9a-f]{12}")


def source_on_host(source: str, sent: Mapping[str, str], settled: Mapping[str, str], instance: str) -> str:
    """The source of an agent that names its host, by label or by instance; else the source as it is.

    `sent` are the labels of the heartbeat, `settled` those that people gave the agent. Behind a proxy all agents share
    one address, and the silence of one host would look like several agents' own.
    """
    host = labelled(sent) or labelled(settled) or _host_of(instance)
    return f"{source.partition('/')[0]}/{host}"[:MAX_LENGTH] if host else source


def labelled(labels: Mapping[str, str]) -> str:
    """The host that labels name; empty if none does."""
    return next((str(labels[name]) for name in LABELS if labels.get(name)), "")


def _host_of(instance: str) -> str:
    if _UUID.fullmatch(instance):
        return ""
    host = next((match["host"] for pattern in _INSTANCES if (match := pattern.fullmatch(instance))), "")
    return "" if _CONTAINER_ID.fullmatch(host) else host
