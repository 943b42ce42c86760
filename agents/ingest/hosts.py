"""The host that an agent runs on, as far as it says. Pure: no Django, no clock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

# As `ingest/reporter.py` cuts sources.
MAX_LENGTH: Final = 80
LABELS: Final = ("host", "hostname")
# As our client builds it: host, process id, random digits.
_INSTANCE: Final = re.compile(r"(?P<host>.+)-\d+-[0-9a-f]+")
# The host name of a container that was given none: its id. It says nothing about the machine.
_CONTAINER_ID: Final = re.compile(r"[0-9a-f]{12}")


def source_on_host(source: str, labels: Mapping[str, str], instance: str) -> str:
    """The source of an agent that names its host, by label or by instance; else the source as it is.

    Behind a proxy all agents share one address, and the silence of one host would look like several agents' own.
    """
    host = next((labels[name] for name in LABELS if labels.get(name)), "") or _host_of(instance)
    return f"{source.partition('/')[0]}/{host}"[:MAX_LENGTH] if host else source


def _host_of(instance: str) -> str:
    match = _INSTANCE.fullmatch(instance)
    return "" if match is None or _CONTAINER_ID.fullmatch(match["host"]) else match["host"]
