"""Bodies that are broken in thousands of ways: a clear refusal or what can be read of them, never a failure."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from agents.domain.heartbeat import MAX_CALLS, MAX_USAGE
from agents.doors import merging
from agents.doors.beats import beats_of
from agents.doors.dialects import facts_of
from agents.doors.notes import Recall
from agents.doors.otlp import otlp_json, protobuf
from agents.doors.otlp.telemetry import MalformedError
from tests.agents.doors.captures import TRUTHS, raw, signal_of

WRONG: list[Any] = [None, "", "x\x00y", "\ud800", -1, 2**70, 1e400, True, [], {}, [[]], {"stringValue": 5}, "9" * 400]


def take(name: str, body: bytes) -> None:
    """All that a request runs without the database."""
    module = protobuf if name.endswith(".bin") else otlp_json
    try:
        items = getattr(module, signal_of(name))(body).items
    except MalformedError:
        return
    facts = [fact for item in items for fact in facts_of(item)]
    merging.wanted(facts, items)
    for beat, _ in beats_of(merging.merge(facts, items, Recall()).entries):
        assert beat.tokens >= 0
        assert len(beat.usage or ()) <= MAX_USAGE
        assert len(beat.tool_call_log or ()) <= MAX_CALLS


@pytest.mark.parametrize("name", TRUTHS)
def test_flipped_and_cut_bytes(name: str) -> None:
    body, luck = raw(name), random.Random(name)
    for _ in range(60):
        broken = bytearray(body)
        for _ in range(luck.randint(1, 20)):
            broken[luck.randrange(len(broken))] = luck.randrange(256)
        take(name, bytes(broken[: luck.randint(1, len(broken))] if luck.random() < 0.5 else broken))


@pytest.mark.parametrize("name", [name for name in TRUTHS if name.endswith(".json")])
def test_wrong_types_anywhere(name: str) -> None:
    body, luck = raw(name), random.Random(name)
    for _ in range(40):
        tree = json.loads(body)
        for _ in range(luck.randint(1, 6)):
            _spoil(tree, luck)
        take(name, json.dumps(tree).encode())


def _spoil(tree: Any, luck: random.Random) -> None:
    """Replace a random part of the tree."""
    while isinstance(tree, dict | list) and tree:
        key = luck.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
        if luck.random() < 0.15 or not isinstance(tree[key], dict | list):
            # A copy: the next one may be put inside of it.
            tree[key] = copy.deepcopy(luck.choice(WRONG))
            return
        tree = tree[key]
