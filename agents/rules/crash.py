"""The agent's process ended with an exception. The silence after it is the same incident, not a second one."""

from agents.rules.base import CRITICAL, Facts, Finding

KIND = "crash"
LABEL = "Crash"


def check(facts: Facts) -> Finding | None:
    """Critical from the crash beat on; seen even when the agent was restarted before anyone looked."""
    crashes = [beat for beat in facts.beats if beat.status == "error" and beat.message.startswith("CRASH:")]
    if not crashes and not facts.seen.crashed:
        return None
    beat = crashes[-1] if crashes else None
    reason = beat.message.removeprefix("CRASH:").strip() if beat else "The agent crashed"
    at = beat.received_at if beat else facts.seen.last_beat_at or facts.now
    evidence = {"message": reason, "traceback": beat.custom if beat else ""}
    return Finding(KIND, CRITICAL, f"Crashed: {reason}"[:500], at, evidence)
