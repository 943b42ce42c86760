"""Creates the fleet's agents by their first heartbeats, in batches, each sent once the one before it is answered.

Creating an agent is measured on its own: it costs many times what a later heartbeat costs. These first heartbeats
declare a long interval, so no agent is due before the load begins.
"""

from __future__ import annotations

import http.client
import json
import time
from collections import defaultdict
from collections.abc import Iterator

from bench.fleet_load import KEYS_PER_PROJECT, heartbeat
from bench.fleet_plan import Plan

BATCH = 50
LONG_INTERVAL = 86_400
ANSWERED_WITHIN = 60
MAX_TRIES = 5


def create_agents(plan: Plan, keys: list[list[str]], port: int) -> float:
    """Create all agents of the plan. Returns agents per second."""
    began = time.monotonic()
    for key, agents in batches(plan, keys):
        send(key, agents, plan, port)
    return plan.agents / (time.monotonic() - began)


def batches(plan: Plan, keys: list[list[str]]) -> Iterator[tuple[str, list[int]]]:
    """Agents by their key, a batch at a time."""
    by_key: dict[str, list[int]] = defaultdict(list)
    for agent in range(plan.agents):
        by_key[keys[plan.project(agent)][plan.host(agent) % KEYS_PER_PROJECT]].append(agent)
    for key, agents in by_key.items():
        for first in range(0, len(agents), BATCH):
            yield key, agents[first : first + BATCH]


def send(key: str, agents: list[int], plan: Plan, port: int) -> None:
    """One batch, sent again until all of it is stored: its heartbeats have ids, so none counts twice."""
    beats = [{**heartbeat(plan, agent, 0), "interval": LONG_INTERVAL} for agent in agents]
    body = json.dumps({"heartbeats": beats}).encode()
    for _ in range(MAX_TRIES):
        error = post(key, body, port)
        if not error:
            return
        time.sleep(1)
    raise SystemExit(f"The agents could not be created: {error}")


def post(key: str, body: bytes, port: int) -> str:
    """What went wrong, or nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWERED_WITHIN)
    try:
        headers = {"X-API-Key": key, "Content-Type": "application/json"}
        connection.request("POST", "/api/v1/heartbeat/batch", body, headers)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except OSError as error:
        return str(error)
    finally:
        connection.close()
    is_stored = answer.status == 200 and '"error"' not in text
    return "" if is_stored else f"{answer.status} {text[:500]}"
