"""https://github.com/haraka/Haraka/issues/395

One recipient of many is refused; nobody is told, and those who have the mail get it again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from agents.models import IncidentEvent
from alerts import outbox, sending
from alerts.models import Channel, Delivery
from teams.models import Project
from tests.alerts.channels.test_email import Sink, sink  # noqa: F401 - a fixture
from tests.alerts.conftest import NOW, agent, happened, incident  # noqa: F401 - fixtures

pytestmark = pytest.mark.django_db


def test_refusal_is_kept_and_repeats_nothing(
    project: Project,
    happened: Callable[..., IncidentEvent],  # noqa: F811
    sink: Sink,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("alerts.wakeup.wake", lambda ids: None)
    sink.refuses = {"bogus@example.com": "550 5.1.1 no such user"}
    both = ["ok@example.com", "bogus@example.com"]
    channel = Channel.objects.create(project=project, kind="email", name="ops", config={"to": both})
    outbox.enqueue(happened("opened"))
    for hours in (0, 1, 2):
        sending.deliver(channel.pk, NOW + timedelta(hours=hours))
    assert sink.taken == ["ok@example.com"]
    channel.refresh_from_db()
    assert list(channel.refused) == ["bogus@example.com"]
    assert Delivery.objects.get(recipient="bogus@example.com").state == Delivery.State.FAILED
