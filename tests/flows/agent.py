"""An agent at work, with nothing but the standard library: `agent.py SERVER NAME`, and its key on standard input.

It beats every second until it is killed, and looks for its key only once it runs, as a process does whose
configuration comes later.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from itertools import count


def beat(server: str, key: str, name: str, step: int) -> None:
    fields = {"agent": name, "status": "ok", "interval": 1, "message": f"step {step}"}
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    request = urllib.request.Request(f"{server}/api/v1/heartbeat", json.dumps(fields).encode(), headers)
    with urllib.request.urlopen(request, timeout=60):
        pass


def work(server: str, name: str, key: str) -> None:
    for step in count(1):
        beat(server, key, name, step)
        time.sleep(1)


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2], sys.stdin.readline().strip())
