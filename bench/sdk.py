#!/usr/bin/env python3
"""What the SDK costs an agent: bench/sdk.py [--pings 20000] [--seconds 20].

Starts a server that answers, one that hangs and an address where none is, and lets an agent call `ping()` with each:
with our SDK, and with a stand-in that behaves as the published SDK 0.4.0 does (tests/published_sdk.py). Every agent is
a process of its own, the server is in this one.

Columns: microseconds of one `ping()` on the caller's thread, half of them and 99 of 100 at most, and the slowest; then
the share of a core at one ping a second, beside an agent that only sleeps; the memory that reporting takes beyond the
import, after a hundred heartbeats; milliseconds of `import clevagent`, beside a Python that imports nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(HERE / "client_sdk"), str(HERE)]

from clevagent.testing import FakeServer  # noqa: E402

DOWN = "http://127.0.0.1:9"
TARGETS = "targets: p50 under 20 µs, p99 under 200 µs in all three; under 0.1 % of a core; under 3 MB; under 50 ms"
OURS = """
import clevagent
clevagent.init(api_key="cv_test", agent="bench", endpoint={url!r}, interval=60)
ping = clevagent.ping
"""
PUBLISHED = """
from tests.published_sdk import Client
client = Client("cv_test", "bench", 60, {url!r})
client._thread.start()
ping = client.ping
"""
TIME_PINGS = """
import json, time
time.sleep(0.5)
took = []
for number in range({count}):
    began = time.perf_counter()
    ping(message="step")
    took.append(time.perf_counter() - began)
    if number % 50 == 0:
        time.sleep(0.001)
took.sort()
print("\\n" + json.dumps([took[len(took) // 2] * 1e6, took[int(len(took) * 0.99)] * 1e6, took[-1] * 1e6]), flush=True)
"""
# CPU of the whole process while it works at this pace, its start left out.
TIME_CPU = """
import json, os, time
time.sleep(2)
before, end = time.process_time(), time.monotonic() + {seconds}
while time.monotonic() < end:
    ping(message="step")
    time.sleep(1)
print(json.dumps((time.process_time() - before) / {seconds} * 100))
"""
MEASURE_MEMORY = """
import json, time, clevagent
def held():
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_")) / 1024
before = held()
clevagent.init(api_key="cv_test", agent="bench", endpoint={url!r}, interval=60, auto_cost={capture})
for number in range(100):
    clevagent.ping("warning", message=f"step {{number}}")
    clevagent.log_tool_call("search", args={{"q": number}})
clevagent.flush()
print(json.dumps(held() - before))
"""


def output(code: str, seconds: float = 120) -> Any:
    """What the program printed last, as JSON. Ended hard: how long the end takes is not asked here."""
    environment = {**os.environ, "PYTHONPATH": f"{HERE / 'client_sdk'}{os.pathsep}{HERE}"}
    process = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport os; os._exit(0)"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=True,
    )
    return json.loads(process.stdout.strip().splitlines()[-1])


def pings(client: str, url: str, count: int) -> str:
    half, most, slowest = output(client.format(url=url) + TIME_PINGS.format(count=count))
    return f"{half:12,.1f} {most:12,.1f} {slowest:14,.1f}"


def import_ms(code: str) -> float:
    """The quickest of many starts: the rest is the machine."""
    environment = {**os.environ, "PYTHONPATH": str(HERE / "client_sdk")}
    took = []
    for _ in range(15):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        took.append((time.perf_counter() - began) * 1000)
    return min(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pings", type=int, default=20_000, help="of ours in each state; the published one blocks: 3")
    parser.add_argument("--seconds", type=float, default=20, help="for the share of a core")
    given = parser.parse_args()
    with FakeServer() as up, FakeServer(hang=3600) as hangs:
        states = {"up": up.url, "hanging": hangs.url, "down": DOWN}
        print(f"{'ping(), µs':34} {'p50':>12} {'p99':>12} {'slowest':>14}")
        for state, url in states.items():
            print(f"{'ours, server ' + state:34} {pings(OURS, url, given.pings)}", flush=True)
            few = 1 if state == "hanging" else min(given.pings, 200)
            print(f"{'published, server ' + state:34} {pings(PUBLISHED, url, few)}", flush=True)
        cpu = output(OURS.format(url=up.url) + TIME_CPU.format(seconds=given.seconds))
        sleeps = output("ping = lambda message: None" + TIME_CPU.format(seconds=given.seconds))
        print(f"\none ping a second: {cpu:.3f} % of a core (one that only sleeps: {sleeps:.3f} %)")
        for capture in (False, True):
            memory = output(MEASURE_MEMORY.format(url=up.url, capture=capture))
            print(f"memory beyond the import, auto_cost={capture}: {memory:.2f} MB")
        print(f"import clevagent: {import_ms('import clevagent') - import_ms('pass'):.1f} ms")
    print(TARGETS)


if __name__ == "__main__":
    main()
