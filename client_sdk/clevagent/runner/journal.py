"""Logging: lines on stderr, and entries with searchable fields in systemd's journal.

`journalctl -t clevagent-runner CLEVAGENT_TARGET=systemd:research-agent.service` shows one target's history.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
import sys
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")
IDENTIFIER = "clevagent-runner"
FORMAT = "%(asctime)s %(levelname)s %(message)s"
# Well below the default datagram limit. Longer texts are cut.
MAX_TEXT_LENGTH = 32_768
# Priorities as defined by syslog.
PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
ROOT = "clevagent"


class RedactingFormatter(logging.Formatter):
    """Formats records without the API key, wherever it came from."""

    def __init__(self, form: str, key: str) -> None:
        super().__init__(form)
        self._key = key

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text.replace(self._key, "cv_…") if self._key else text


class Journal(logging.Handler):
    """Sends records to journald in its native protocol, one datagram each."""

    def __init__(self, path: Path = SOCKET) -> None:
        super().__init__()
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0))
        self._socket.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        """If journald does not accept the record, drop it rather than disturb the runner."""
        try:
            self._socket.sendto(entry(record, self.format(record)), self._path)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS, errno.ENOENT, errno.ECONNREFUSED, errno.EMSGSIZE):
                self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()


def entry(record: logging.LogRecord, text: str) -> bytes:
    """Encode a record in journald's protocol. Multi-line fields are preceded by their length."""
    fields = {
        "MESSAGE": text[:MAX_TEXT_LENGTH],
        "PRIORITY": str(PRIORITIES.get(record.levelno, 6)),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "CLEVAGENT_TARGET": _text(record, "target"),
        "CLEVAGENT_AGENT": getattr(getattr(record, "target", None), "agent", ""),
        "CLEVAGENT_COMMAND": _text(record, "command"),
    }
    return b"".join(_field(name, each) for name, each in fields.items() if each)


def begin(level: str, key: str, *, path: Path = SOCKET) -> None:
    """Log to stderr and to the journal if there is one, but only once if stderr is the journal."""
    root = logging.getLogger(ROOT)
    root.setLevel(level)
    root.propagate = False
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    if path.exists():
        _add(root, Journal(path), RedactingFormatter("%(message)s", key))
    if not (path.exists() and _stderr_is_journal()):
        _add(root, logging.StreamHandler(sys.stderr), RedactingFormatter(FORMAT, key))


def _add(root: logging.Logger, handler: logging.Handler, formatter: logging.Formatter) -> None:
    handler.setFormatter(formatter)
    root.addHandler(handler)


def _stderr_is_journal() -> bool:
    """As described in sd_journal_stream(3): JOURNAL_STREAM contains the stream's device and inode."""
    try:
        stream = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"


def _text(record: logging.LogRecord, name: str) -> str:
    value = getattr(record, name, None)
    return "" if value is None else str(value)


def _field(name: str, text: str) -> bytes:
    data = text.encode(errors="replace")
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
