"""A stand-in for the published SDK 0.4.0, which is on no package index. Its requests are identical to the byte.

Run as a program, it is an agent that executes the commands on its standard input:

    python tests/published_sdk.py --endpoint URL --api-key KEY --agent NAME [--interval 60] [--on-loop stop]

`ping [message]` · `cost TOKENS USD` · `tool NAME [args]` · `iteration N` · `prompt TEXT` · `crash TEXT` · `shutdown`;
the program ends with its input, without telling the server. It prints what the SDK prints.

It has the SDK's known faults: the first SIGTERM does not end the program, a ping blocks for up to 10 s and then loses
its data, and a crash waits for a second while the background thread goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 5.0
TRIES = 2
CALLS_KEPT = 20
PROMPTS_KEPT = 5
MAX_ARGS_LENGTH = 200
Action = str | Callable[[], object]


def post(endpoint: str, api_key: str, body: bytes) -> Any:
    """One attempt. Raises OSError or HTTPException without an answer, ValueError for an error status."""
    where = urlsplit(endpoint)
    line = http.client.HTTPConnection(where.hostname or "", where.port, timeout=TIMEOUT)
    try:
        line.request("POST", "/api/v1/heartbeat", body, {"X-API-Key": api_key, "Content-Type": "application/json"})
        answer = line.getresponse()
        if answer.status >= 400:
            raise ValueError(f"{answer.status} {answer.reason}")
        return json.loads(answer.read())
    finally:
        line.close()


class Client:
    """What `init()` starts. Counters restart with each beat; prompts and the iteration are repeated in each."""

    def __init__(
        self,
        api_key: str,
        agent: str,
        interval: float = 60,
        endpoint: str = "http://127.0.0.1:8000",
        on_loop: Action = "alert_only",
        on_cost_exceeded: Action = "alert_only",
        agent_type: str | None = None,
    ) -> None:
        self.api_key, self.agent, self.interval, self.endpoint = api_key, agent, interval, endpoint.rstrip("/")
        self.agent_type, self.agent_id = agent_type, None
        self.actions = {"loop_detected": on_loop, "cost_exceeded": on_cost_exceeded}
        self._lock = threading.Lock()
        self._tokens, self._cost, self._tool_calls = 0, 0.0, 0
        self._iteration: int | None = None
        self._calls: deque[dict[str, str]] = deque(maxlen=CALLS_KEPT)
        self._prompts: deque[str] = deque(maxlen=PROMPTS_KEPT)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, daemon=True)

    def start(self) -> None:
        sys.excepthook = self._crashed
        self._thread.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.shutdown())
        print(f"[clevagent] Initialized — agent={self.agent} endpoint={self.endpoint}", flush=True)

    def ping(self, status: str = "ok", message: str | None = None, **given: Any) -> None:
        """`given` replaces what was counted since the last beat; `custom` is a dict."""
        custom = given.pop("custom", None)
        if custom is not None:
            given["custom_data"] = json.dumps(custom)
        self._beat(status, message, {name: value for name, value in given.items() if value is not None})

    def log_cost(self, tokens: int, cost_usd: float, model: str | None = None) -> None:
        with self._lock:
            self._tokens += tokens
            self._cost += cost_usd

    def log_tool_call(self, name: str, args_summary: str = "") -> None:
        with self._lock:
            self._calls.append({"name": name, **({"args": args_summary[:MAX_ARGS_LENGTH]} if args_summary else {})})

    def log_iteration(self, count: int) -> None:
        self._iteration = count

    def log_prompt(self, text: str) -> None:
        with self._lock:
            self._prompts.append(hashlib.sha256(text.encode()).hexdigest()[:16])

    def shutdown(self) -> None:
        """Say goodbye and stop beating. Signal handlers are restored: the next signal ends the process."""
        self._stopping.set()
        self._beat("shutdown", "Agent shutting down gracefully", {})
        self._thread.join(10)
        sys.excepthook = sys.__excepthook__
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def _beat_on(self) -> None:
        self._beat("ok", None, {})
        while not self._stopping.wait(self.interval):
            self._beat("ok", None, {})

    def _beat(self, status: str, message: str | None, given: dict[str, Any]) -> None:
        answer = self._send({"status": status, "message": message, **self._counted(), **given})
        if answer is None:
            return
        self.agent_id = answer.get("agent_id") or self.agent_id
        if answer.get("warning") and not self._stopping.is_set():
            self._warned(answer["warning"], answer.get("reason", ""))

    def _counted(self) -> dict[str, Any]:
        with self._lock:
            counted = {
                "tokens_used": self._tokens or None,
                "cost_usd": self._cost or None,
                "tool_calls": self._tool_calls or None,
                "iteration_count": self._iteration,
                "tool_call_log": list(self._calls) or None,
                "prompt_hashes": list(self._prompts) or None,
                "agent_type": self.agent_type,
            }
            self._tokens, self._cost, self._tool_calls = 0, 0.0, 0
            self._calls.clear()
            return counted

    def _send(self, fields: dict[str, Any]) -> Any:
        """Send the same body at most twice, without a pause, whatever the error; then it is lost."""
        kept = {name: value for name, value in fields.items() if value is not None}
        body = json.dumps({"agent": self.agent, **kept}, allow_nan=False).encode()
        for _ in range(TRIES):
            try:
                return post(self.endpoint, self.api_key, body)
            except (OSError, http.client.HTTPException, ValueError) as error:
                last = error
        print(f"Heartbeat failed after {TRIES} attempt(s) — agent={self.agent} error={last}", file=sys.stderr)
        return None

    def _warned(self, warning: str, reason: str) -> None:
        action = self.actions.get(warning)
        if action is None:
            return
        print(f"[clevagent] {warning}: {reason}", flush=True)
        if callable(action):
            action()
        elif action in ("stop", "force_stop"):
            os._exit(1)

    def _crashed(self, kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        last_three = "".join(traceback.format_tb(where)[-3:])
        custom = json.dumps({"traceback": last_three, "crash": True})
        self._send({"status": "error", "message": f"CRASH: {kind.__name__}: {error}", "custom_data": custom})
        time.sleep(1)
        sys.__excepthook__(kind, error, where)


def obey(client: Client, line: str) -> None:
    word, _, rest = line.strip().partition(" ")
    match word:
        case "ping":
            client.ping(message=rest or None)
        case "cost":
            tokens, usd = rest.split()
            client.log_cost(int(tokens), float(usd))
        case "tool":
            name, _, args = rest.partition(" ")
            client.log_tool_call(name, args)
        case "iteration":
            client.log_iteration(int(rest))
        case "prompt":
            client.log_prompt(rest)
        case "crash":
            raise RuntimeError(rest)
        case "shutdown":
            client.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--api-key", required=True)
    parser.add_argument("--agent", required=True)
    parser.add_argument("--interval", type=float, default=60)
    parser.add_argument("--on-loop", default="alert_only")
    parser.add_argument("--on-cost-exceeded", default="alert_only")
    parser.add_argument("--agent-type")
    client = Client(**vars(parser.parse_args()))
    client.start()
    for line in sys.stdin:
        obey(client, line)


if __name__ == "__main__":
    main()
