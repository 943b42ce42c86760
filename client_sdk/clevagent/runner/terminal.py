"""Words for the person at the terminal."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """An answer, on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """What is wrong or unwise, on standard error."""
    sys.stderr.write(f"clevagent-runner: {text}\n")
