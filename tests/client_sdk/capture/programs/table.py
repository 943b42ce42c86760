"""The ways of calling that one program tries, each for a model named like it; what came of them is printed as JSON."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import os
from typing import Any, Callable

import clevagent
from clevagent import capture

MODELS = os.environ["MODEL_SERVER"]
CASES: dict[str, Callable[..., Any]] = {}
used: list[dict[str, Any]] = []


def case(function: Callable[..., Any]) -> Callable[..., Any]:
    """A way of calling. It may return something for the test to look at."""
    CASES[function.__name__.replace("_", "-")] = function
    return function


def start() -> None:
    clevagent.log_usage = lambda **use: used.append(use)
    capture.install()


def main() -> None:
    """Run every case with its model's name; a case that this release lacks raises AttributeError or TypeError."""
    results: dict[str, Any] = {}
    for name, function in CASES.items():
        try:
            results[name] = {"returned": _run(function, name)}
        except Exception as error:
            results[name] = {"error": repr(error)}
    gc.collect()
    capture.settle()
    print(json.dumps({"cases": results, "used": used}))


def _run(function: Callable[..., Any], model: str) -> Any:
    found = function(model)
    return asyncio.run(found) if inspect.iscoroutine(found) else found


def kind(thing: Any) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
