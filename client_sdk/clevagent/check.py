"""`python -m clevagent check`: can this machine report, and does the server receive it?"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from clevagent.options import ENDPOINT
from clevagent.transport import Answer, Transport, UnreachableError, exposure, key_hint, parse_key
from clevagent.version import AGENT

# Seconds. The Date header is in whole seconds; beyond this, times in heartbeats are misleading.
MAX_SKEW = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Exit code 0: no problems, 1: a problem, 2: invalid arguments."""
    parser = argparse.ArgumentParser(prog="python -m clevagent", description="Report to a ClevAgent Watchdog server.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="check the connection, the API key, the clock and a first heartbeat")
    check.add_argument("--endpoint", default=os.environ.get("CLEVAGENT_ENDPOINT") or ENDPOINT)
    check.add_argument("--agent", default=os.environ.get("CLEVAGENT_AGENT", ""), help="send a heartbeat as this agent")
    options = parser.parse_args(arguments)
    return check_server(options.endpoint, os.environ.get("CLEVAGENT_API_KEY", ""), options.agent, time.time())


def check_server(endpoint: str, key: str, agent: str, wall: float) -> int:
    """Print one line per check, with a fix for each problem. Return 0 if there is none.

    `wall` is this machine's time, in seconds since 1970.
    """
    if not key:
        return _bad("No API key. Set CLEVAGENT_API_KEY to a key of the project, which starts with cv_.")
    try:
        transport = Transport(endpoint, key)
    except ValueError as error:
        return _bad(str(error))
    if parse_key(key) != key:
        print("--   the API key has white space or quotes around it, which are ignored; remove them where it is set")
    if exposed := exposure(transport.address):
        print(f"--   {exposed}")
    try:
        answer = transport.request("GET", "/status?limit=1")
        _good(f"{transport.address} is reachable")
        return _check_key(answer, parse_key(key)) or _check_clock(answer, wall) or _check_beat(transport, agent)
    except UnreachableError as error:
        return _bad(f"{transport.address} does not answer: {error}. {_cure(error)}")
    finally:
        transport.close()


def _cure(error: UnreachableError) -> str:
    if error.needs_fix and "CERTIFICATE" in str(error).upper():
        return "Add the server's certificate authority to SSL_CERT_FILE, and check this machine's clock."
    if error.needs_fix:
        return "Fix CLEVAGENT_ENDPOINT, or HTTPS_PROXY."
    return "Is the server running, and CLEVAGENT_ENDPOINT correct?"


def _check_key(answer: Answer, key: str) -> int:
    if answer.status == 401:
        return _bad(f"The API key is not valid ({answer.why}). Create one under Team → Keys.{key_hint(key)}")
    if not answer.accepted:
        return _bad(f"The server answered {answer.why}")
    _good("the API key is valid")
    return 0


def _check_clock(answer: Answer, wall: float) -> int:
    served_at = answer.served_at
    skew = 0.0 if served_at is None else wall - served_at
    if abs(skew) > MAX_SKEW:
        return _bad(f"This machine's clock is {skew:+.0f} s off the server's. Synchronize both with NTP.")
    _good(f"the clocks agree within {MAX_SKEW:.0f} s")
    return 0


def _check_beat(transport: Transport, agent: str) -> int:
    if not agent:
        print("--   no heartbeat sent; to send one, set --agent or CLEVAGENT_AGENT")
        return 0
    beat = {"agent": agent, "status": "ok", "message": "clevagent check", "sdk": AGENT}
    answer = transport.request("POST", "/heartbeat", beat)
    if not answer.accepted:
        return _bad(f"the server refused the heartbeat from {agent}: {answer.why}")
    # Without a goodbye, the server would wait for the next heartbeat and then report the agent as down.
    transport.request("POST", "/heartbeat", {**beat, "status": "shutdown"})
    _good(f"the server received a heartbeat from {agent}")
    return 0


def _good(text: str) -> None:
    print(f"ok   {text}")


def _bad(text: str) -> int:
    print(f"BAD  {text}", file=sys.stderr)
    return 1
