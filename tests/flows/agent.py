"""An agent that uses only the standard library: `agent.py SERVER NAME`, with the API key on standard input.

It sends a heartbeat every second until it is killed. It reads the key after it has started, like a process that is
configured later.
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
