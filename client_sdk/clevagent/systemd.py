"""systemd's notification protocol: ready, alive, and in what state. Without systemd nothing is sent.

The facts are those of sd_notify(3): one datagram of `KEY=VALUE` lines to `$NOTIFY_SOCKET`.
"""

from __future__ import annotations

import os
import socket


def notify(**fields: object) -> bool:
    """Send the fields, such as `READY=1` or `STATUS="…"`, to systemd. Answers whether they were sent.

    Never blocks and never raises: False when the program was not started by systemd, or systemd does not listen.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    text = "\n".join(f"{name}={_one_line(value)}" for name, value in fields.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            # An abstract address is written with @ and begins with a NUL byte.
            channel.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
        return True
    except OSError:
        return False


def _one_line(value: object) -> str:
    return " ".join(str(value).split())


def watchdog_seconds() -> float | None:
    """Within how many seconds systemd wants to hear of progress; None when it does not watch this process."""
    try:
        limit = int(os.environ.get("WATCHDOG_USEC", "")) / 1_000_000
        # A child has the variables, too, but systemd listens to the process it started.
        if int(os.environ.get("WATCHDOG_PID") or os.getpid()) != os.getpid():
            return None
    except ValueError:
        return None
    return limit if limit > 0 else None
