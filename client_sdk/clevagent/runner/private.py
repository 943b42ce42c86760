"""Files that only the runner's user can read."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO


def open_private(path: Path) -> IO[str]:
    """A new file that only this user can read. What stood there is removed: it may be a link to somebody's file."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "w", encoding="utf-8")
