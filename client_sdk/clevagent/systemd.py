"""systemd's notification protocol. Does nothing unless systemd started the process.

As described in sd_notify(3): one datagram of `KEY=VALUE` lines to `$NOTIFY_SOCKET`.
"""

from __future__ import annotations

import os
import socket


def notify(**fields: object) -> bool:
    """Send fields such as `READY=1` or `STATUS="…"` to systemd. Return whether they were sent.

    Never blocks or raises. Returns False if systemd did not start the program or is not listening.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    text = "\n".join(f"{name}={_one_line(value)}" for name, value in fields.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            # An abstract address is written with @ and starts with a NUL byte.
            channel.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
        return True
    except OSError:
        return False


def _one_line(value: object) -> str:
    return " ".join(str(value).split())


def watchdog_seconds() -> float | None:
    """Return within how many seconds systemd expects progress, or None if it does not watch this process."""
    try:
        limit = int(os.environ.get("WATCHDOG_USEC", "")) / 1_000_000
        # A child inherits the variables, but systemd only listens to the process it started.
        if int(os.environ.get("WATCHDOG_PID") or os.getpid()) != os.getpid():
            return None
    except ValueError:
        return None
    return limit if limit > 0 else None
