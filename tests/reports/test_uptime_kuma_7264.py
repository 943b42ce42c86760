"""https://github.com/louislam/uptime-kuma/issues/7264

A job that reports once a month: the longest interval is 24 days.
"""

from __future__ import annotations

import json

import pytest

from agents.domain.wire.decoding import decode


@pytest.mark.parametrize("days", [24, 31, 92, 366])
def test_interval_of_months_is_kept(days: int) -> None:
    beat = decode(json.dumps({"agent": "monthly-backup", "interval": days * 86_400}).encode())
    assert (beat.interval, beat.left_out) == (days * 86_400, None)
