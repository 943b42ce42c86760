"""https://github.com/NousResearch/hermes-agent/pull/62943

A file of SK hynix is taken for a key and cannot be found.
"""

from __future__ import annotations

from agents.domain.redaction import redacted


def test_paths_are_not_redacted() -> None:
    assert redacted("MEDIA:/data/charts/sk_hynix_chart.png") == "MEDIA:/data/charts/sk_hynix_chart.png"
    assert redacted("sk_live_abcdefghijklmnop1234") == "[hidden]"
