"""The agent, or the runner that watches it, reports an error."""

from agents.fold import EXPECTED
from agents.rules.base import CRITICAL, WARNING, BeatSeen, Facts, Finding

KIND = "error"
LABEL = "Error"


def check(facts: Facts) -> Finding | None:
    """A warning while the last report is an error; critical when a runner says that the target is not running."""
    beat = last_error(facts)
    if beat is None and not (facts.seen.reported == "error" and not facts.seen.crashed):
        return None
    at = beat.received_at if beat else facts.seen.last_beat_at or facts.now
    reason = beat.message if beat and beat.message else "The agent reported an error"
    severity = CRITICAL if facts.seen.runner_down else WARNING
    return Finding(KIND, severity, reason[:500], at, {"message": reason, "by_runner": facts.seen.runner_down})


def last_error(facts: Facts) -> BeatSeen | None:
    """The last error among the new beats, even if a good one came right behind it: it happened, so it is told."""
    errors = [beat for beat in facts.beats if beat.status == "error" and not beat.message.startswith("CRASH:")]
    told = [beat for beat in errors if beat.note != EXPECTED]
    return told[-1] if told else None
