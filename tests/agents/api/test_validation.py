"""Bodies of requests: what cannot be meant as it is written is refused with the cure."""

from __future__ import annotations

from typing import Any

import pytest

from agents.models import Agent
from tests.agents.api.conftest import Call


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("maintenance", {"reason": "disks", "ends_at": "2099-01-01T10:00:00"}, "ends_at"),
        (
            "maintenance",
            {"reason": "disks", "starts_at": "2099-01-01", "ends_at": "2099-01-01T10:00:00Z"},
            "starts_at",
        ),
        ("agents/{pk}/pause", {"until": "2099-01-01T10:00:00"}, "until"),
        ("rules/try", {"rule": "stalled", "since": "2020-01-01T10:00"}, "since"),
    ],
)
def test_time_without_offset_is_refused(
    as_full: Call, agent: Agent, path: str, body: dict[str, Any], field: str
) -> None:
    refused = as_full("POST", path.format(pk=agent.pk), body)
    assert (refused.status_code, list(refused.json()["error"]["fields"])) == (422, [field])


def test_refusal_says_how_to_write_a_time(as_full: Call, agent: Agent) -> None:
    refused = as_full("POST", f"agents/{agent.pk}/pause", {"until": "2099-01-01T10:00:00"}).json()["error"]
    assert refused["fields"]["until"] == "must have its UTC offset, such as 2030-01-31T12:00:00Z"


@pytest.mark.parametrize("until", ["2099-01-01T10:00:00Z", "2099-01-01T10:00:00+02:00"])
def test_time_with_offset_is_accepted(as_full: Call, agent: Agent, until: str) -> None:
    assert as_full("POST", f"agents/{agent.pk}/pause", {"until": until}).status_code == 200
