"""Who is on call, by layers, hand-overs and overrides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from alerts import rotations
from alerts.rotations import Rotation, RotationError

# The first Monday; hand-overs are at 9:00 in Berlin.
WEEKLY = {"people": ["ann", "ben", "cy"], "first": "2026-11-02"}


def rotation(*layers: dict[str, Any], zone: str = "Europe/Berlin", **others: Any) -> Rotation:
    return rotations.parse({"zone": zone, "layers": list(layers) or [WEEKLY], **others})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("when", "person"),
    [
        ("2026-11-02 07:59", ""),
        ("2026-11-02 08:00", "ann"),
        ("2026-11-09 07:59", "ann"),
        ("2026-11-09 08:00", "ben"),
        ("2026-11-16 08:00", "cy"),
        ("2026-11-23 08:00", "ann"),
        ("2027-03-29 06:59", "cy"),  # in summer, 9:00 is 7:00 UTC
        ("2027-03-29 07:00", "ann"),
    ],
)
def test_weeks_change_by_the_local_clock(when: str, person: str) -> None:
    assert rotations.on_call(rotation(), at(when)) == person


def test_turns_may_have_any_number_of_days() -> None:
    daily = rotation({**WEEKLY, "days": 1, "at": "00:00"}, zone="UTC")
    assert [rotations.on_call(daily, at(f"2026-11-0{day} 12:00")) for day in range(2, 6)] == ["ann", "ben", "cy", "ann"]


def test_later_layer_goes_before_in_its_hours() -> None:
    nights = {"people": ["dora"], "first": "2026-11-02", "hours": {"from": "18:00", "to": "08:00"}}
    both = rotation(WEEKLY, nights, zone="UTC")
    hours = {hour: rotations.on_call(both, at(f"2026-11-03 {hour}")) for hour in ("07:59", "08:00", "17:59", "18:00")}
    assert hours == {"07:59": "dora", "08:00": "ann", "17:59": "ann", "18:00": "dora"}


def test_override_goes_before_everything() -> None:
    swap = {"person": "eve", "from": "2026-11-03T12:00:00Z", "to": "2026-11-03T14:00:00+01:00"}
    swapped = rotation(overrides=[swap])
    assert rotations.on_call(swapped, at("2026-11-03 11:59")) == "ann"
    assert rotations.on_call(swapped, at("2026-11-03 12:00")) == "eve"
    assert rotations.on_call(swapped, at("2026-11-03 13:00")) == "ann"


def test_shifts_agree_with_who_is_on_call() -> None:
    """Every half hour of five weeks, across the change of the clock."""
    nights = {"people": ["dora", "eve"], "first": "2026-10-20", "days": 2, "hours": {"from": "22:30", "to": "06:00"}}
    swap = {"person": "fay", "from": "2026-10-25T00:15:00Z", "to": "2026-10-25T01:45:00Z"}
    mixed = rotation({**WEEKLY, "first": "2026-10-19"}, nights, overrides=[swap])
    begins = at("2026-10-15 00:00")
    found = rotations.shifts(mixed, begins, begins + timedelta(days=35))
    for step in range(35 * 48):
        moment = begins + timedelta(minutes=30 * step)
        people = [shift.person for shift in found if shift.start <= moment < shift.end]
        assert people == [person for person in [rotations.on_call(mixed, moment)] if person], moment
    assert all(one.end <= two.start for one, two in pairwise(found))


NOON = "2026-11-03T12:00:00"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"zone": "Mars/Base"}, "no time zone named 'Mars/Base'"),
        ({"zone": "../etc"}, "no time zone"),
        ({"layers": []}, "length >= 1"),
        ({"layers": [{**WEEKLY, "days": 0}]}, ">= 1"),
        ({"layers": [{**WEEKLY, "first": "soon"}]}, "Invalid"),
        ({"layers": [{**WEEKLY, "people": []}]}, "length >= 1"),
        ({"layers": [{**WEEKLY, "people": ["a\0"]}]}, "NUL"),
        ({"overrides": [{"person": "a", "from": f"{NOON}Z", "to": f"{NOON}Z"}]}, "must end after"),
        ({"overrides": [{"person": "a", "from": NOON, "to": f"{NOON}Z"}]}, "timezone"),
        ({"typo": 1}, "unknown field"),
    ],
)
def test_invalid_rotations_are_explained(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RotationError, match=said):
        rotations.parse({"zone": "UTC", "layers": [WEEKLY]} | change)
