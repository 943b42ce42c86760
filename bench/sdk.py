#!/usr/bin/env python3
"""The SDK's overhead in an agent: bench/sdk.py [--pings 20000] [--seconds 20].

An agent calls `ping()` against a server that answers, one that hangs, and an address without a server; with our SDK,
and with a stand-in that behaves like the published SDK 0.4.0 (tests/published_sdk.py). Each agent is a separate
process, the server runs in this one.

Columns: microseconds per `ping()` on the caller's thread at the median, the 99th percentile and the maximum. Then: CPU
share of one core at one ping per second, compared with an agent that only sleeps; memory beyond the import after a
hundred heartbeats; milliseconds for `import clevagent`, compared with a Python that imports nothing.
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
# CPU of the whole process at this rate, without its start.
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
    """The JSON in the program's last line. It exits hard, so that shutdown is not measured."""
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
    """The fastest of many starts; anything slower is noise."""
    environment = {**os.environ, "PYTHONPATH": str(HERE / "client_sdk")}
    took = []
    for _ in range(15):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        took.append((time.perf_counter() - began) * 1000)
    return min(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pings", type=int, default=20_000, help="pings of our SDK per server state")
    parser.add_argument("--seconds", type=float, default=20, help="seconds for measuring the CPU share")
    options = parser.parse_args()
    with FakeServer() as up, FakeServer(hang=3600) as hangs:
        states = {"up": up.url, "hanging": hangs.url, "down": DOWN}
        print(f"{'ping(), µs':34} {'p50':>12} {'p99':>12} {'slowest':>14}")
        for state, url in states.items():
            print(f"{'ours, server ' + state:34} {pings(OURS, url, options.pings)}", flush=True)
            few = 1 if state == "hanging" else min(options.pings, 200)
            print(f"{'published, server ' + state:34} {pings(PUBLISHED, url, few)}", flush=True)
        cpu = output(OURS.format(url=up.url) + TIME_CPU.format(seconds=options.seconds))
        sleeps = output("ping = lambda message: None" + TIME_CPU.format(seconds=options.seconds))
        print(f"\none ping per second: {cpu:.3f} % of a core (an agent that only sleeps: {sleeps:.3f} %)")
        for capture in (False, True):
            memory = output(MEASURE_MEMORY.format(url=up.url, capture=capture))
            print(f"memory beyond the import, auto_cost={capture}: {memory:.2f} MB")
        print(f"import clevagent: {import_ms('import clevagent') - import_ms('pass'):.1f} ms")
    print(TARGETS)


if __name__ == "__main__":
    main()
