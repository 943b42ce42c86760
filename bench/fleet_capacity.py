"""How many heartbeats per second the server carries: connections that send the next one as soon as one is answered."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor

from bench.fleet_create import LONG_INTERVAL
from bench.fleet_load import KEYS_PER_PROJECT, agent_name, heartbeat
from bench.fleet_plan import Plan

CONNECTIONS = 32
SECONDS = 5.0
ANSWERED_WITHIN = 30


def capacity(plan: Plan, keys: list[list[str]], port: int) -> float:
    """Heartbeats that are stored per second while `CONNECTIONS` agents send as fast as they are answered."""
    count = min(CONNECTIONS, plan.agents)
    agents = [number * plan.agents // count for number in range(count)]
    until = time.monotonic() + SECONDS
    with ThreadPoolExecutor(count) as pool:
        stored = sum(pool.map(lambda agent: send_until(until, plan, agent, keys, port), agents))
    return stored / SECONDS


def send_until(until: float, plan: Plan, agent: int, keys: list[list[str]], port: int) -> int:
    """Send one agent's heartbeats until that monotonic time. Returns how many were answered 200."""
    key = keys[plan.project(agent)][plan.host(agent) % KEYS_PER_PROJECT]
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWERED_WITHIN)
    stored = number = 0
    try:
        while time.monotonic() < until:
            number += 1
            connection.request("POST", "/api/v1/heartbeat", body_of(plan, agent, number), headers)
            answer = connection.getresponse()
            answer.read()
            stored += answer.status == 200
    finally:
        connection.close()
    return stored


def body_of(plan: Plan, agent: int, number: int) -> bytes:
    """Its interval is long, so no agent is due before the load begins. Its id is none of the load's."""
    own = {"beat_id": f"{agent}-c{number}", "interval": LONG_INTERVAL, "agent": agent_name(agent)}
    return json.dumps({**heartbeat(plan, agent, number), **own}).encode()
