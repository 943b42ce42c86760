"""Real service managers, one of each per worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.docker import Engine, engine
from tests.services.systemd import UserManager, user_manager


@pytest.fixture(scope="session")
def manager() -> Iterator[UserManager]:
    """A systemd user manager; skips where none can run."""
    with user_manager() as started:
        yield started


@pytest.fixture(scope="session")
def docker() -> Iterator[Engine]:
    """A Docker Engine; skips where none can run."""
    with engine() as started:
        yield started
