"""The server knows every backend of the runner, and the runner's help shows it."""

from __future__ import annotations

import pytest
from clevagent.runner import backends, cli
from clevagent.runner.backends.base import Backend

from agents.models import RestartType
from tests.agents.conftest import World, world  # noqa: F401 - a fixture

each_backend = pytest.mark.parametrize("backend", backends.ALL, ids=lambda backend: backend.KIND)


@each_backend
def test_heartbeats_may_name_the_backend(backend: Backend, world: World) -> None:  # noqa: F811
    assert backend.KIND in RestartType.values
    world.beat(0, restart_type=backend.KIND, restart_target="target")
    assert world.state().restart_type == backend.KIND


@each_backend
def test_the_help_shows_the_backend(backend: Backend) -> None:
    assert f"{backend.KIND}:" in cli.WATCH
