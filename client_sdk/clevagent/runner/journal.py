"""The runner's log: lines on stderr, and native entries in systemd's journal, whose fields can be asked for.

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
# Well below what a datagram carries by default; a longer text is cut.
MAX_TEXT_LENGTH = 32_768
# syslog's priorities.
PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
ROOT = "clevagent"


class WithoutKey(logging.Formatter):
    """Writes records without the API key, whatever brought it there."""

    def __init__(self, form: str, key: str) -> None:
        super().__init__(form)
        self._key = key

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text.replace(self._key, "cv_…") if self._key else text


class Journal(logging.Handler):
    """Sends records to journald in its own protocol: one datagram of fields."""

    def __init__(self, path: Path = SOCKET) -> None:
        super().__init__()
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0))
        self._socket.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        """A journal that does not take it loses a line, never the watch."""
        try:
            self._socket.sendto(entry(record, self.format(record)), self._path)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS, errno.ENOENT, errno.ECONNREFUSED, errno.EMSGSIZE):
                self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()


def entry(record: logging.LogRecord, text: str) -> bytes:
    """A record in journald's protocol; what goes on over several lines is written with its length."""
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
    """Log to stderr and, where there is one, to the journal; not twice where stderr is the journal."""
    root = logging.getLogger(ROOT)
    root.setLevel(level)
    root.propagate = False
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    if path.exists():
        _add(root, Journal(path), WithoutKey("%(message)s", key))
    if not (path.exists() and _stderr_is_journal()):
        _add(root, logging.StreamHandler(sys.stderr), WithoutKey(FORMAT, key))


def _add(root: logging.Logger, handler: logging.Handler, formatter: logging.Formatter) -> None:
    handler.setFormatter(formatter)
    root.addHandler(handler)


def _stderr_is_journal() -> bool:
    """As sd_journal_stream(3) has it: JOURNAL_STREAM names the device and inode of the stream."""
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _text(record: logging.LogRecord, name: str) -> str:
    found = getattr(record, name, None)
    return "" if found is None else str(found)


def _field(name: str, text: str) -> bytes:
    data = text.encode(errors="replace")
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
