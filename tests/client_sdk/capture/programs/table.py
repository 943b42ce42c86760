"""The call styles of one program. Each uses a model of the same name and asserts its own result."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import os
import warnings
from collections.abc import Callable
from typing import Any

import clevagent

MODELS = os.environ["MODEL_SERVER"]
CASES: dict[str, Callable[[str], Any]] = {}


def case(function: Callable[[str], Any]) -> Callable[[str], Any]:
    CASES[function.__name__.replace("_", "-")] = function
    return function


def start() -> None:
    # Old releases warn about new Python versions and about their own code. clevagent's warnings stay errors.
    warnings.filterwarnings("ignore", module=r"(openai|anthropic|google|litellm|pydantic|httpx|aiohttp)")
    clevagent.init(interval=3600)


def main() -> None:
    """Run every case, report what was counted, and print the errors of cases this release does not support."""
    failed = {name: error for name, function in CASES.items() if (error := _error_of(function, name))}
    gc.collect()
    assert clevagent.flush(10), "the reports were not accepted"
    clevagent.shutdown()
    print(json.dumps(failed))


def _error_of(function: Callable[[str], Any], model: str) -> str | None:
    try:
        found = function(model)
        if inspect.iscoroutine(found):
            asyncio.run(found)
    except Exception as error:
        return repr(error)
    return None
