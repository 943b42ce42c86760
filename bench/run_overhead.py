"""What `clevagent run` costs beside the command: memory, CPU time while it waits, and CPU time to start and end.

    python bench/run_overhead.py [--seconds 60]

Three commands: a silent one, and two that print up to 10 and 100 lines a second. CPU time is that of the wrapping
process alone. Exits with 1 beyond 30 MB or 0.5 % of a core.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

CLIENT = Path(__file__).resolve().parents[1] / "client_sdk"
sys.path.insert(0, str(CLIENT))

from clevagent.testing import FakeServer  # noqa: E402 - the client needs no installation

MAX_MB, MAX_SHARE = 30.0, 0.005
# Seconds until the start is over: imports, the first connection.
SETTLING = 3.0
TICKS = os.sysconf("SC_CLK_TCK")
PRINTING = "while :; do echo a line of output; sleep {}; done"
COMMANDS = {
    "silent": ("sleep", "3600"),
    "10 lines a second": ("sh", "-c", PRINTING.format(0.1)),
    "100 lines a second": ("sh", "-c", PRINTING.format(0.01)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args(arguments).seconds
    with FakeServer() as server:
        costs = [_measure(server, name, command, seconds) for name, command in COMMANDS.items()]
    return 0 if all(memory <= MAX_MB and share <= MAX_SHARE for memory, share in costs) else 1


def _measure(server: FakeServer, name: str, command: Sequence[str], seconds: float) -> tuple[float, float]:
    """Returns resident memory in MB, and the share of a core while the command runs."""
    variables = {**os.environ, "PYTHONPATH": str(CLIENT), "CLEVAGENT_API_KEY": server.key}
    variables["CLEVAGENT_ENDPOINT"] = server.url
    argv = [sys.executable, "-m", "clevagent", "run", "--agent", "job", "--", *command]
    running = subprocess.Popen(argv, env=variables, stdout=subprocess.DEVNULL)
    try:
        time.sleep(SETTLING)
        started = _cpu(running.pid)
        time.sleep(seconds)
        share = (_cpu(running.pid) - started) / seconds
        memory, private = (_memory(running.pid, kind) for kind in ("Rss", "Pss"))
    finally:
        running.terminate()
        running.wait()
    print(f"{name:20} {memory:5.1f} MB ({private:.1f} MB its own)  {share:7.3%} of a core  start {started:.2f} s CPU")
    return memory, share


def _cpu(pid: int) -> float:
    """Seconds of CPU time, of the process without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _memory(pid: int, kind: str) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith(f"{kind}:"))
    return int(kilobytes) * 1024 / 1e6


if __name__ == "__main__":
    sys.exit(main())
