"""https://github.com/marlam/msmtp/issues/20

One invalid recipient, and nobody gets the mail.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agents.models import IncidentEvent
from alerts import outbox, sending
from alerts.models import Channel
from teams.models import Project
from tests.alerts.channels.test_email import Sink, sink  # noqa: F401 - a fixture
from tests.alerts.conftest import NOW, agent, happened, incident  # noqa: F401 - fixtures

pytestmark = pytest.mark.django_db


def test_valid_recipients_get_their_mail(
    project: Project,
    happened: Callable[..., IncidentEvent],  # noqa: F811
    sink: Sink,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("alerts.wakeup.wake", lambda ids: None)
    sink.refuses = {"wrong@example.com": "554 5.7.1 rejected by the recipient's policy"}
    everybody = ["wrong@example.com", "first@example.com", "second@example.com"]
    channel = Channel.objects.create(project=project, kind="email", name="ops", config={"to": everybody})
    outbox.enqueue(happened("opened"))
    sending.deliver(channel.pk, NOW)
    assert sink.taken == ["first@example.com", "second@example.com"]
