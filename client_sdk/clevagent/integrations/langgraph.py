"""LangGraph: nodes that report themselves. For tools and models inside them, add LangChain's handler.

@monitored_node("research") def research(state): ...
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable, TypeVar, cast

import clevagent
from clevagent.integrations import report
from clevagent.integrations.langchain import is_control_flow

F = TypeVar("F", bound=Callable[..., Any])


def clevagent_node_callback(
    node_name: str, status: str = "ok", tokens: int | None = None, message: str | None = None
) -> None:
    """Report from inside a node that it is done.

    status: "ok", "warning" or "error". tokens: what the node used, if nothing else counts it.
    """
    with clevagent.iteration():
        text = message or f"node:{node_name} (step {report.next_step()})"
        clevagent.ping(status=status, message=text, tokens_used=tokens)


def monitored_node(node_name: str) -> Callable[[F], F]:
    """Decorate a node function, sync or async: each run is a step; exceptions are reported and re-raised."""

    def decorated(function: F) -> F:
        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with _watched(node_name):
                return function(*args, **kwargs)

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with _watched(node_name):
                return await function(*args, **kwargs)

        return cast("F", awaited if inspect.iscoroutinefunction(function) else called)

    return decorated


@contextmanager
def _watched(node_name: str) -> Iterator[None]:
    try:
        yield
    except Exception as problem:
        if not is_control_flow(problem):
            report.error(f"node:{node_name} error", problem)
        raise
    report.step(f"node:{node_name} completed")
