"""Output for the person at the terminal."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Print a result to standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_error(text: str) -> None:
    """Print an error or a warning to standard error."""
    sys.stderr.write(f"clevagent-runner: {text}\n")
