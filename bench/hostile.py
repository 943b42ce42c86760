#!/usr/bin/env python3
"""Hostile inputs on ingest: bench/hostile.py [--inputs 100000] [--seed 1].

Sends inputs to the server's own code on a new SQLite database: valid heartbeats with a few values replaced by hostile
ones, in batches of 500; every tenth alone, with bytes of its body changed as well. Prints how they were answered and
the CPU time. Exits with 1 at a 5xx, or unless afterwards as many heartbeats are stored as were accepted, agents' counts
agree with them, the database is whole, and nothing of another team has changed.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

HERE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(HERE), str(HERE / "client_sdk")]
BATCH: Final = 500
# Every tenth input goes alone.
ALONE: Final = 10
AGAIN: Final = {"busy", "overloaded"}
VALID: Final[dict[str, Any]] = {
    "agent": "bot", "status": "ok", "message": "step", "tokens_used": 10, "cost_usd": 0.01, "tool_calls": 1,
    "iteration_count": 3, "memory_mb": 120.5, "custom_data": {"a": 1}, "sent_at": "2026-11-30T12:00:00Z", "doing": None,
    "seq": 1, "instance": "i", "sdk": "python/1", "interval": 60, "progress": True, "progress_age": 1,
    "progress_timeout": 600, "cost_limit_usd": 5, "waiting": {"for": "approval", "until": None}, "labels": {"a": "b"},
    "usage": [{"model": "gpt-5", "provider": "openai", "input_tokens": 5, "output_tokens": 5}],
    "tool_call_log": [{"name": "search", "args": "{}", "args_hash": "x", "result_hash": "y", "ms": 5, "ok": True}],
    "prompt_hashes": ["aa"], "evidence": {"code": 1}, "restart_type": "docker", "restart_target": "web",
}  # fmt: skip
HOSTILE: Final[list[Any]] = [
    None, True, False, 0, -1, 1.5, 1e308, -1e308, 2**63, 2**63 - 1, -(2**63), 10**40, float("nan"), float("inf"), "",
    " ", "\0", "x" * 3_000, "\ud800", "💥" * 100, "'; DROP TABLE agents_agent;--", "<script>", "../../etc", "%s%n",
    "9" * 400, "true", "null", [], {}, [[]], [None], {"": ""}, {"a": {"b": [{}] * 20}}, ["x"] * 600, {"a" * 300: "b"},
    "2026-02-30T25:61:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-12:00",
    "0001-01-01T00:00:00+14:00", "a\r\nX-Evil: 1", "\u202e",
]  # fmt: skip


def hostile(rng: random.Random) -> Any:
    """A heartbeat with up to three hostile values, or something that is none."""
    if rng.random() < 0.03:
        return rng.choice(HOSTILE)
    beat = {name: value for name, value in VALID.items() if name == "agent" or rng.random() < 0.4}
    beat["agent"] = f"bot-{rng.randrange(50)}"
    for _ in range(rng.randrange(4)):
        _spoil(beat, rng)
    # Last: what is sent again after 503 must be known again.
    return {**beat, "beat_id": str(rng.getrandbits(64))}


def _spoil(beat: dict[str, Any], rng: random.Random) -> None:
    name = rng.choice([*VALID, "unknown"])
    inner = beat.get(name)
    if isinstance(inner, list) and inner and isinstance(inner[0], dict) and rng.random() < 0.5:
        inner = beat[name] = [dict(inner[0])]
        inner[0][rng.choice([*inner[0]])] = rng.choice(HOSTILE)
    elif isinstance(inner, dict) and rng.random() < 0.5:
        beat[name] = {**inner, rng.choice([*inner, "x"]): rng.choice(HOSTILE)}
    else:
        beat[name] = rng.choice(HOSTILE)


def encoded(value: Any, rng: random.Random, *, spoiled: bool) -> bytes:
    """As JSON, also what JSON does not allow; `spoiled`: with some of its bytes changed."""
    body = bytearray(json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass"))
    if spoiled and rng.random() < 0.5:
        for _ in range(rng.randrange(1, 4)):
            body[rng.randrange(len(body))] = rng.randrange(256)
    if spoiled and rng.random() < 0.1:
        del body[rng.randrange(len(body)) :]
    return bytes(body)


class Server:
    """The server's own WSGI application, as its processes run it."""

    def __init__(self, key: str) -> None:
        from watchdog_project.wsgi import routed

        self._app, self._key = routed, key

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        seen: list[str] = []
        environ = {
            "REQUEST_METHOD": "POST", "PATH_INFO": path, "SERVER_NAME": "localhost", "SERVER_PORT": "80",
            "REMOTE_ADDR": "192.0.2.1", "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body)),
            "HTTP_X_API_KEY": self._key, "wsgi.input": io.BytesIO(body), "wsgi.url_scheme": "http",
        }  # fmt: skip
        answer = b"".join(self._app(environ, lambda status, _: seen.append(status)))
        return int(seen[0].split()[0]), json.loads(answer)

    def post_patiently(self, path: str, body: bytes) -> tuple[int, Any]:
        """As a client does: what the server is too busy for is sent again."""
        while True:
            status, answer = self.post(path, body)
            results = answer.get("results", [answer])
            if not any(result.get("error", {}).get("code") in AGAIN for result in results):
                return status, answer
            time.sleep(0.2)


def send(server: Server, inputs: int, rng: random.Random) -> tuple[Counter[str], list[int]]:
    """How inputs were answered, and the ids of agents whose heartbeats were accepted."""
    answers: Counter[str] = Counter()
    accepted: list[int] = []

    def note(status: int, answer: Any) -> None:
        error = answer.get("error")
        answers[error["code"] if error else "accepted"] += 1
        answers["5xx"] += status >= 500 or (error or {}).get("code") in ("server_error", "internal_error")
        if not error:
            accepted.append(answer["agent_id"])

    waiting: list[bytes] = []
    for number in range(inputs):
        value = hostile(rng)
        if number % ALONE == 0:
            note(*server.post_patiently("/api/v1/heartbeat", encoded(value, rng, spoiled=True)))
            continue
        one = encoded(value, rng, spoiled=False)
        if any(word in one for word in (b"NaN", b"Infinity", b"\xed\xa0")):  # one such makes all of a batch invalid
            note(*server.post_patiently("/api/v1/heartbeat", one))
            continue
        waiting.append(one)
        if len(waiting) == BATCH or sum(map(len, waiting)) > 900_000:
            _batch(server, waiting, note)
            waiting = []
    _batch(server, waiting, note)
    return answers, accepted


def _batch(server: Server, waiting: list[bytes], note: Any) -> None:
    if not waiting:
        return
    status, answer = server.post_patiently("/api/v1/heartbeat/batch", b'{"heartbeats": [' + b",".join(waiting) + b"]}")
    for result in answer.get("results", [answer] * len(waiting)):
        note(status, result)


def wrong_afterwards(accepted: list[int], before: str, strangers: int) -> list[str]:
    """What is not as it must be."""
    from django.db import connection
    from django.db.models import Count

    from agents.models import AgentState, Heartbeat

    stored = dict(Heartbeat.objects.filter(agent__in=set(accepted)).values_list("agent").annotate(Count("id")))
    counted = dict(AgentState.objects.filter(beats__gt=0).values_list("agent", "beats"))
    answered = Counter(accepted)
    wrong = [f"agent {agent}: {count} accepted, {stored.get(agent)} stored" for agent, count in answered.items()
             if stored.get(agent) != count][:5]  # fmt: skip
    if any(counted.get(agent) != count for agent, count in stored.items() if agent in answered):
        wrong.append("agents' counts differ from what is stored")
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA integrity_check")
        wrong += [row[0] for row in cursor.fetchall() if row[0] != "ok"]
        cursor.execute("PRAGMA foreign_key_check")
        wrong += [f"dangling rows in {row[0]}" for row in cursor.fetchall()]
    return wrong + ([] if fingerprint(strangers) == before else ["another team's rows have changed"])


def fingerprint(project: int) -> str:
    from agents.models import Agent, AgentState, Heartbeat, Incident

    rows = [
        list(model.objects.filter(**{where: project}).order_by("pk").values())  # type: ignore[attr-defined]
        for model, where in ((Agent, "project"), (AgentState, "agent__project"), (Heartbeat, "agent__project"))
    ]
    return repr([*rows, list(Incident.objects.filter(project=project).values())])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(DATA_DIR=folder, DJANGO_SETTINGS_MODULE="watchdog_project.settings")
        for name in ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL"):
            os.environ.pop(name, None)
        return _run(asked.inputs, random.Random(asked.seed))


def _run(inputs: int, rng: random.Random) -> int:
    import django

    django.setup()
    logging.disable(logging.WARNING)
    from django.core.management import call_command
    from django.utils import timezone

    from agents.ingest.registration import create_agent
    from billing.services import set_plan
    from teams import services
    from teams.models import ApiKey, Project, User

    call_command("migrate", verbosity=0)
    projects: list[Project] = []
    for name in ("attacker", "stranger"):
        person = User.objects.create_user(f"{name}@example.com", "correct horse battery")
        team = services.create_team(owner=person, name=name)
        set_plan(team=team, plan="enterprise", actor="bench")
        projects.append(services.create_project(team=team, name=name, actor="bench"))
    create_agent(project=projects[1], name="bot-1", now=timezone.now() - timedelta(hours=1))
    key = services.issue_key(project=projects[0], name="k", actor="bench")[1]
    ApiKey.objects.update(new_agents_per_hour=10_000)
    before, started = fingerprint(projects[1].pk), time.process_time()
    answers, accepted = send(Server(key), inputs, rng)
    spent = time.process_time() - started
    wrong = wrong_afterwards(accepted, before, projects[1].pk)
    for name, count in answers.most_common():
        print(f"{name:24} {count:>9,}")
    print(f"{sum(answers.values()) - answers['5xx']:,} inputs, {spent:.0f} s of CPU, {len(wrong)} faults afterwards")
    print(*wrong, sep="\n")
    return 1 if wrong or answers["5xx"] else 0


if __name__ == "__main__":
    sys.exit(main())
