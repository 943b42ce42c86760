#!/usr/bin/env python3
"""Accuracy of loop detection: bench/loops.py --data FOLDER [--runs FILE] [--synth 100] [--seed 3].

Replays recorded agent runs as heartbeats, with injected loops and legitimate repetition, and prints each result with
its target. The runs and the scoring code (`runs-dev.jsonl.xz`, `evaluate.py`) are not part of this project; `--data` is
their folder. The same code can score any detector, for example this one:

    PYTHONPATH=. python DATA/evaluate.py RUNS.jsonl -d bench.loops:detector

Columns: what clients report per tool call: name and arguments; plus a hash of the full arguments; plus a hash of the
result and whether it succeeded. The second table is for heartbeats every 60 seconds, the third compares simple rules.
"""

from __future__ import annotations

import argparse
import importlib
import json
import lzma
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE))

from agents.domain import heartbeat as wire  # noqa: E402
from agents.rules import loop  # noqa: E402
from agents.rules.facts import BeatSeen  # noqa: E402

OURS = "bench.loops:detector"
KNOWN = ("repeat3", "repeat5", "openhands", "cycle4/3", "win5of20", "rate10", "message5")
FIELDS = {"today": [], "+ args_hash": ["--ahash"], "+ result": ["--ahash", "--results"]}
PERIODS = ("cycle2", "cycle3", "cycle4", "cycle5", "cycle7")
MASKED = ("ts_args", "id_args", "attempt_args", "key_order", "para_args", "long_args", "msg_same")
Report = dict[str, Any]


def detector() -> tuple[Callable[[], Any], Callable[[Any, dict[str, Any]], Any]]:
    """For `evaluate.py`: each heartbeat passes the server's decoder, then the rule."""

    def step(state: Any, heartbeat: dict[str, Any]) -> tuple[Any, list[dict[str, Any]]]:
        state, findings = loop.step(state, seen(heartbeat))
        return state, [{"kind": one.kind, "severity": one.severity, "reason": one.reason} for one in findings]

    return dict, step


def seen(heartbeat: dict[str, Any]) -> BeatSeen:
    beat = wire.decode(json.dumps({"agent": "replayed", **heartbeat}).encode())
    content = json.loads(json.dumps(heartbeat.get("tool_call_log") or []))
    return BeatSeen(
        datetime.fromtimestamp(heartbeat["ts"], UTC),
        beat.status,
        beat.message or "",
        calls=[{**call, "args": (call.get("args") or "")[: wire.MAX_ARGS_LENGTH]} for call in content],
        tokens=beat.tokens,
        cost=beat.cost,
        counter=None if beat.tool_calls is None else int(beat.tool_calls),
        iteration=None if beat.iteration_count is None else int(beat.iteration_count),
    )


def total(report: Report, name: str, *, intercode: bool, outcome: str = "") -> int:
    rows = [row for key, row in report["per"].items() if key.startswith("intercode") is intercode]
    if outcome:
        rows = [
            row for key, row in report["per"].items() if key.startswith("intercode") is intercode and outcome in key
        ]
    return sum(row[name] for row in rows)


def recall(report: Report, *, intercode: bool) -> float:
    return 100 * total(report, "hit", intercode=intercode) / max(1, total(report, "segs", intercode=intercode))


def injected(report: Report, *kinds: str) -> float:
    """The lowest detection rate among these kinds, in percent of their samples."""
    return min(100 * report["synth"][kind][0] / report["synth"][kind][1] for kind in kinds)


def quiet_kinds(report: Report) -> int:
    legit = importlib.import_module("synth").LEGIT
    return sum(report["synth"][kind][0] <= 0.02 * report["synth"][kind][1] for kind in legit)


def rate(report: Report) -> float:
    return (
        1000
        * total(report, "fp", intercode=False, outcome="/ok")
        / total(report, "steps", intercode=False, outcome="/ok")
    )


def alarmed_share(report: Report) -> float:
    return (
        100
        * total(report, "fp_runs", intercode=False, outcome="/ok")
        / total(report, "runs", intercode=False, outcome="/ok")
    )


STEP_ROWS: list[tuple[str, Callable[[Report], float], tuple[float, float, float], bool]] = [
    ("false alarms, ok agent runs", lambda r: total(r, "fp_runs", intercode=False, outcome="/ok"), (3, 2, 2), True),
    ("  per 1000 steps", rate, (0.3, 0.3, 0.3), True),
    ("false alarms, ok intercode runs", lambda r: total(r, "fp_runs", intercode=True, outcome="/ok"), (4, 4, 4), True),
    ("real loops, agents, %", lambda r: recall(r, intercode=False), (80, 96, 93), False),
    ("real loops, intercode, %", lambda r: recall(r, intercode=True), (88, 98, 98), False),
    ("delay p50, steps", lambda r: r["delay_p50"], (3, 3, 3), True),
    ("delay p90, steps", lambda r: r["delay_p90"], (7, 4, 4), True),
    ("injected period 1, %", lambda r: injected(r, "exact1"), (90, 90, 100), False),
    ("injected periods 2-5 and 7, worst, %", lambda r: injected(r, *PERIODS), (98, 98, 100), False),
    ("masked, reordered, long, say-only, worst, %", lambda r: injected(r, *MASKED), (98, 98, 98), False),
    ("25 % other calls between, %", lambda r: injected(r, "noisy25"), (90, 90, 90), False),
    ("40 % other calls between, %", lambda r: injected(r, "noisy40"), (75, 78, 78), False),
    ("legitimate kinds alarmed in at most 2 %", quiet_kinds, (18, 18, 19), False),
    ("tokens of looping runs after the alarm, %", lambda r: r["saved"], (68, 73, 70), False),
]
MINUTE_ROWS: list[tuple[str, Callable[[Report], float], tuple[float, float, float], bool]] = [
    ("false alarms, % of ok agent runs", alarmed_share, (0.4, 0.4, 0.4), True),
    ("real loops, agents, %", lambda r: recall(r, intercode=False), (78, 94, 93), False),
    ("real loops, intercode, %", lambda r: recall(r, intercode=True), (0, 0, 0), False),
]


def evaluated(options: argparse.Namespace, runs: Path, detectors: list[str], extra: list[str]) -> dict[str, Report]:
    with tempfile.NamedTemporaryFile(suffix=".json") as kept:
        names = [part for name in detectors for part in ("-d", name)]
        sizes = ["--seed", str(options.seed), "--synth", str(options.synth)]
        command = [sys.executable, str(options.data / "evaluate.py"), str(runs), *sizes, *names, *extra]
        paths = os.environ | {"PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run([*command, "--json", kept.name], check=True, env=paths, stdout=subprocess.DEVNULL)
        found: dict[str, Report] = json.load(kept)
    return found


def saved(runs: list[dict[str, Any]], options: list[str]) -> float:
    """Tokens spent after the first alarm in a real loop, in percent of the tokens of all looping runs."""
    evaluate, oracle = importlib.import_module("evaluate"), importlib.import_module("oracle")
    how = {"mode": "step", "log": "flush", "prompts": False, "message": "text", "times": False, "t0": 1_700_000_000.0}
    opt = argparse.Namespace(**how, ahash="--ahash" in options, results="--results" in options)
    runner, after, spent = evaluate.Runner(OURS), 0, 0
    for run in runs:
        labels = oracle.labels(run)
        if run["corpus"] == "intercode" or not labels:
            continue
        told = [step for first, step, _ in evaluate.alarms(runner, run, opt) if first <= labels[-1][1] + 2]
        spent += sum(step.get("tok", 0) for step in run["steps"])
        after += sum(step.get("tok", 0) for step in run["steps"][told[0] + 1 :]) if told else 0
    return 100 * after / spent


def cost(runs: list[dict[str, Any]]) -> tuple[float, float, int, int, bool]:
    """Microseconds per heartbeat (median, p99), largest state, heartbeats, and whether replays agree."""
    heartbeats, times, largest, agree = importlib.import_module("heartbeats"), [], 0, True
    for run in runs[::3]:
        state: Any = {}
        stored: Any = {}
        for one in heartbeats.stream(run, ahash=True, results=True):
            beat = seen({name: value for name, value in one.items() if not name.startswith("_")})
            began = time.perf_counter()
            state, found = loop.step(state, beat)
            times.append((time.perf_counter() - began) * 1e6)
            stored, again = loop.step(json.loads(json.dumps(stored)), beat)
            agree = agree and (state, found) == (stored, again)
            largest = max(largest, len(json.dumps(state)))
    return statistics.median(times), statistics.quantiles(times, n=100)[-1], largest, len(times), agree


def show(title: str, rows: Any, reports: list[Report]) -> bool:
    print(f"\n{title:46s}" + "".join(f"{name:>22s}" for name in FIELDS))
    good = True
    for what, read, bounds, less in rows:
        cells = []
        for report, bound in zip(reports, bounds, strict=True):
            value = round(read(report), 2)
            met = value <= bound if less else value >= bound
            good = good and met
            cells.append(f"{value:g} ({'<=' if less else '>='} {bound:g}{'' if met else ' MISSED'})")
        print(f"{what:46s}" + "".join(f"{cell:>22s}" for cell in cells))
    return good


def show_known(reports: dict[str, Report]) -> None:
    titles = ("false alarms %", "agents %", "intercode %", "delay p50/p90", "legit kinds quiet", "injected kinds found")
    print(f"\n{'simple rules, fields of today':46s}" + "".join(f"{title:>22s}" for title in titles))
    loops = importlib.import_module("synth").LOOPS
    for name, report in reports.items():
        shares = [alarmed_share(report), recall(report, intercode=False), recall(report, intercode=True)]
        found = sum(injected(report, kind) >= 50 for kind in loops)
        cells = [f"{share:.2f}" for share in shares] + [f"{report['delay_p50']}/{report['delay_p90']}"]
        cells += [f"{quiet_kinds(report)} of 19", f"{found} of {len(loops)}"]
        label = "this detector" if name == OURS else name
        print(f"{label:46s}" + "".join(f"{cell:>22s}" for cell in cells))


def unpacked(options: argparse.Namespace, folder: str) -> Path:
    runs: Path = options.runs or options.data / "runs-dev.jsonl.xz"
    if runs.suffix != ".xz":
        return runs
    plain = Path(folder) / "runs.jsonl"
    plain.write_bytes(lzma.decompress(runs.read_bytes()))
    return plain


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of evaluate.py and the recorded runs")
    parser.add_argument("--runs", type=Path, help="recorded runs; default: runs-dev.jsonl.xz in DATA")
    parser.add_argument("--synth", type=int, default=100)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    if not (options.data / "evaluate.py").exists():
        print(f"No evaluate.py in {options.data}: the recorded runs are not part of this project.")
        return 2
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(options.data))
    with tempfile.TemporaryDirectory() as folder:
        return measure(options, unpacked(options, folder))


def measure(options: argparse.Namespace, path: Path) -> int:
    runs = [json.loads(line) for line in path.read_text().splitlines()]
    known = evaluated(options, path, [OURS, *KNOWN], [])
    steps = [known[OURS], *(evaluated(options, path, [OURS], more)[OURS] for more in list(FIELDS.values())[1:])]
    for report, options in zip(steps, FIELDS.values(), strict=True):
        report["saved"] = saved(runs, options)
    good = show("one heartbeat per step", STEP_ROWS, steps)
    for log in ("flush", "rolling"):
        minutes = [
            evaluated(options, path, [OURS], ["--mode", "60", "--log", log, *more])[OURS] for more in FIELDS.values()
        ]
        good = show(f"one heartbeat per minute, {log} log", MINUTE_ROWS, minutes) and good
    show_known(known)
    middle, slow, size, count, agree = cost(runs)
    print(
        f"\n{count:,} heartbeats: {middle:.0f} µs each (99th percentile {slow:.0f}), "
        f"state at most {size:,} bytes of 6,144,"
    )
    print(f"replayed from stored JSON: {'the same' if agree else 'NOT the same'}")
    return 0 if good and agree and middle <= 200 and size <= 6_144 else 1


if __name__ == "__main__":
    sys.exit(main())
