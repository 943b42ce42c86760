"""Texts that strangers send cost time in proportion to their length, whatever is in them."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LENGTH = 200_000
# CPU seconds. A linear expression needs about two for all texts, a quadratic one more for a single text.
MAX_SECONDS = 8
# Each begins what an expression looks for, many times, and never ends it.
PARTS = [
    *(
        "-eyJaaaaaaaa",
        "-eyJaaaaaaaa.aaaaaaaa",
        "eyJ.",
        "sk-",
        "sk-aaaa.",
        "://",
        "://a:",
        "token=",
        "token='",
        "token ",
    ),
    *("secret" + " " * 50, "Bearer ", "user_token", "password:", "cv_", "AIza-", "-AIza", "whsec_", "[hidden]", "aB"),
    *("-", " ", "\n", ".", "=", "A", "github_pat_", "api_key\t", "/ping/", "?", "/status/?", "é", "\u2028"),
]
PROGRAM = """
import json, sys
from importlib import import_module
module, _, name = sys.argv[1].partition(":")
clean = getattr(import_module(module), name)
for part in json.load(sys.stdin):
    clean(part * ({length} // len(part)))
    clean("token=" + part * ({length} // len(part)))
print("done")
"""


@pytest.mark.parametrize(
    "function", ["agents.domain.redaction:redacted", "clevagent.redact:redacted", "watchdog_project.hiding:hidden"]
)
def test_no_text_costs_more_than_its_length(function: str) -> None:
    import json

    found = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(length=LENGTH), function],
        input=json.dumps(PARTS),
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'client_sdk'}"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == "done\n", found.stderr[-300:]


def test_tokens_within_runs_are_still_hidden() -> None:
    from agents.domain.redaction import redacted

    key = "ghp_" + "a1B2" * 8
    assert key not in redacted(f"eyJaaaaaaaaaa-{key}")
    assert redacted("see eyJhbGciOiJI.eyJzdWIiOiIx.sig now") == "see [hidden] now"
    assert redacted("eyJustAWordWithoutDots") == "eyJustAWordWithoutDots"
