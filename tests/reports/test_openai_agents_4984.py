"""https://github.com/openai/openai-agents-python/pull/4984

One value that JSON cannot say drops the whole export.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal

import clevagent
from clevagent.testing import FakeServer
from clevagent.transport import encode


def test_foreign_values_become_text() -> None:
    sent = json.loads(
        encode({"id": uuid.UUID(int=1), "at": datetime(2030, 1, 1, tzinfo=UTC), "cost": Decimal("0.1"), "raw": b"x"})
    )
    assert sent == {"id": str(uuid.UUID(int=1)), "at": "2030-01-01 00:00:00+00:00", "cost": "0.1", "raw": "b'x'"}


def test_program_may_report_anything() -> None:
    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError

    with FakeServer() as server:
        clevagent.init(server.key, "bot", endpoint=server.url, auto_cost=False, spool=False)
        clevagent.ping(message=Hostile(), cost_usd=Decimal("0.25"), custom={"x": {1, 2}, "y": b"z"})  # type: ignore[arg-type]
        clevagent.log_tool_call("search", args={"a": object(), "b": float("nan")}, result=Hostile())
        assert clevagent.flush()
        clevagent.shutdown()
    assert float(server.spent()) == 0.25
    assert [call["name"] for call in server.calls()] == ["search"]
