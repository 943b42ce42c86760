"""Streams the audit log to `AUDIT_STREAM_URL`, a webhook or a syslog server, where nobody here can erase it.

Entries are sent in their order as JSON lines, at least once. The table is the queue: the position is stored after each
batch, so an outage of the receiver, a restart or a lost task loses nothing.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from alerts.channels import http
from alerts.channels.base import ChannelError
from teams import audit_lines
from teams.models import AuditEntry, AuditPosition

log = logging.getLogger(__name__)
BATCH: Final = 100
# Entries get their ids before they are committed: a younger one may still be preceded by one that nobody sees yet.
SETTLED_AFTER: Final = timedelta(seconds=30)
SECONDS: Final = 5.0
DEFAULT_PORTS: Final = {"syslog": 514, "syslog+tls": 6514}
# RFC 5424: facility 13 (log audit), severity 6 (informational).
PRIORITY: Final = 13 * 8 + 6


def send_new(now: datetime) -> int:
    """Send what is new, up to one batch. Returns how many entries were sent.

    No transaction is open meanwhile: on SQLite it would hold up every heartbeat. Two workers may send the same batch.
    """
    if not settings.AUDIT_STREAM_URL:
        return 0
    position, _ = AuditPosition.objects.get_or_create(pk=1)
    found = AuditEntry.objects.filter(pk__gt=position.sent_up_to, at__lt=now - SETTLED_AFTER)
    entries = list(found.select_related("team").order_by("pk")[:BATCH])
    if not entries or not _sent(entries):
        return 0
    AuditPosition.objects.filter(pk=1, sent_up_to=position.sent_up_to).update(sent_up_to=entries[-1].pk)
    return len(entries)


def _sent(entries: Sequence[AuditEntry]) -> bool:
    url = urlsplit(settings.AUDIT_STREAM_URL)
    try:
        if url.scheme in DEFAULT_PORTS:
            _send_to_syslog(url, entries)
        else:
            _send_to_webhook(settings.AUDIT_STREAM_URL, entries)
    except (OSError, ChannelError) as error:
        log.warning("The audit log could not be streamed, and is tried again: %s", type(error).__name__)
        return False
    return True


def _send_to_webhook(url: str, entries: Sequence[AuditEntry]) -> None:
    body = "".join(audit_lines.line(entry) for entry in entries).encode()
    reply = http.post(url, body, {"Content-Type": "application/x-ndjson"}, seconds=SECONDS)
    if not 200 <= reply.status < 300:
        raise ChannelError(http.describe(reply))


def _send_to_syslog(url: SplitResult, entries: Sequence[AuditEntry]) -> None:
    """RFC 5424 messages over TCP, framed by their length as RFC 6587 asks for."""
    host = url.hostname or ""
    messages = b"".join(framed(entry) for entry in entries)
    with socket.create_connection((host, url.port or DEFAULT_PORTS[url.scheme]), SECONDS) as connection:
        if url.scheme == "syslog":
            connection.sendall(messages)
            return
        with ssl.create_default_context().wrap_socket(connection, server_hostname=host) as encrypted:
            encrypted.sendall(messages)


def framed(entry: AuditEntry) -> bytes:
    """One syslog message with its length before it."""
    at = entry.at.isoformat().replace("+00:00", "Z")
    text = f"<{PRIORITY}>1 {at} {socket.gethostname()} clevagent-watchdog - audit - {audit_lines.line(entry)}"
    message = text.rstrip("\n").encode()
    return f"{len(message)} ".encode() + message
