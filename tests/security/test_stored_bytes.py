"""One team cannot fill the disk: the bytes of its heartbeats are counted per day, over all keys and processes."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from agents.domain.wire.decoding import decode
from agents.ingest import rate_limit, write
from agents.ingest.write import Received
from agents.storage import stored_bytes
from billing import plans
from teams import auth, services
from teams.auth import Caller
from teams.models import ApiKey, AuditEntry, Project, Team, User
from tests.agents.conftest import World

pytestmark = pytest.mark.django_db
# `T0`, when `world` begins, is at noon.
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 5, 5, tzinfo=UTC)
LONG = "x" * 9_000


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free allows 200 bytes a day per request per minute: 40,000."""
    monkeypatch.setattr(plans.Plan, "bytes_per_day", property(lambda plan: plan.requests_per_minute * 100))


def words(number: int) -> str:
    """Text that no database compresses much."""
    return random.Random(number).randbytes(4_500).hex()


def count(at: float) -> None:
    stored_bytes.count(NOON + timedelta(seconds=at))


def caller_at(project: Project, at: datetime) -> Caller:
    key = ApiKey.objects.select_related("project__team").filter(project=project).get()
    return auth._caller(key, at)


def fill(world: World) -> None:
    count(0)
    for number in range(5):
        world.beat(number, custom_data={"text": words(number)}, message=f"step {number}")
    count(60)


def test_team_beyond_its_day_stores_no_details(world: World, small: None) -> None:
    fill(world)
    world.caller = caller_at(world.project, NOON + timedelta(seconds=61))
    assert Team.objects.get().details_off_until == MIDNIGHT
    plan = plans.BY_KEY["free"]
    assert not rate_limit.count_beats(world.caller, plan, 1, NOON, rate_limit.Meter())


def test_heartbeats_still_count(world: World, small: None) -> None:
    fill(world)
    with world.clock(62):
        auth._cache.clear()
        world.caller = caller_at(world.project, NOON + timedelta(seconds=62))
    answer = world.beat(63, cost_usd=1, message="step")
    assert answer.agent_id
    assert world.state().beats == 6


def test_details_are_stored_again_after_midnight(world: World, small: None) -> None:
    fill(world)
    assert not caller_at(world.project, MIDNIGHT - timedelta(seconds=1)).keeps_details
    assert caller_at(world.project, MIDNIGHT).keeps_details


def test_within_its_day_a_team_keeps_details(world: World) -> None:
    fill(world)
    assert Team.objects.get().details_off_until is None
    assert caller_at(world.project, NOON).keeps_details


def test_each_byte_is_counted_once(world: World, small: None) -> None:
    count(0)
    world.beat(1, message=words(1)[:2000])
    for at in range(60, 3_000, 60):
        count(at)
    assert Team.objects.get().details_off_until is None


def test_what_was_stored_before_is_not_counted(world: World, small: None) -> None:
    for number in range(5):
        world.beat(number, custom_data={"text": words(number)})
    count(60)
    assert Team.objects.get().details_off_until is None


def test_keys_and_projects_of_a_team_count_together(world: World, small: None, owner: User) -> None:
    second = services.create_project(team=world.project.team, name="Second", actor=owner.email)
    raw = services.issue_key(project=second, name="k", actor="test")[1]
    first, other = world.caller, auth.authenticate_key(raw)
    count(0)
    for number in range(6):
        world.caller = (first, other)[number % 2]
        world.beat(number, custom_data={"text": words(number)})
    count(60)
    assert Team.objects.get().details_off_until == MIDNIGHT


def test_other_teams_are_not_affected(world: World, small: None, stranger: User) -> None:
    fill(world)
    theirs = Team.objects.exclude(pk=world.project.team_id).get()
    assert theirs.details_off_until is None


def test_audit_log_says_so_once(world: World, small: None) -> None:
    fill(world)
    world.beat(70, custom_data={"text": words(9)})
    count(120)
    assert AuditEntry.objects.filter(action="plan.storage_full").count() == 1


def test_of_errors_the_message_is_kept(world: World, small: None) -> None:
    fill(world)
    caller = caller_at(world.project, NOON + timedelta(seconds=61))
    beat = decode(b'{"agent": "bot", "status": "error", "message": "%s", "custom_data": {"a": "b"}}' % LONG.encode())
    kept = write._details(Received(caller, beat, NOON, "1/x", detail=False))
    assert kept == {"message": "x" * 500}
