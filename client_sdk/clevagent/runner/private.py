"""Files that only the runner's user can read."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import IO, BinaryIO


def open_private(path: Path) -> IO[str]:
    """A new file that only this user can read. What stood there is removed: it may be a link to somebody's file."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "w", encoding="utf-8")


def append_private(path: Path) -> BinaryIO:
    """The end of a file, which only this user can read if it is new. Follows a link only if this user or root made it:
    another user's could lead to a file that they cannot write themselves.

    Raises OSError.
    """
    with contextlib.suppress(FileNotFoundError):
        if path.is_symlink() and path.lstat().st_uid not in (0, os.geteuid()):
            raise PermissionError(errno.EPERM, "another user's link is not followed", str(path))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "ab")
