"""Both clients hide the same secrets and make the same hashes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from clevagent.progress import hash_of
from clevagent.redact import redacted, without_values

from tests.client_sdk.wire import Node

TEXTS = [
    "key sk-proj-abcdefghijkl1234",
    "cv_abcdefghijklmnop",
    "ghp_abcdefghijklmnop1234",
    "AKIAIOSFODNN7EXAMPLE",
    "Authorization: Bearer abc.def.ghi",
    "postgres://me:hush@db/x",
    '{"api_key": "abcdef"}',
    "password=hush123, user=me",
    "eyJhbGciOiJI.eyJzdWIiOiIx.sig",
    "eyJhbGciOiJIabcdefgh.eyJzdWIiOiIxabcdefgh.sig eyJabcdefghijkl",
    "sk-learn-trainer-01 sk-ABCdef0123456789xyz pypi-AgEIcHlwaS5vcmcCJ",
    "session_token=abcdefghijkl ñtoken=abcdefghijkl token: identifier page_token=next csrf-token=a1b2c3d4e5",
    "834 tokens used, query=release notes, https://host/path, the token: a, max_tokens=4096, risk-free",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw https://u:p@h/ https://u@h/ glpat-ABCDEFGHIJKLMNOPQRST",
    "gsk_abcdEFGH0123456789abcd AIzawa-planner-agent-for-the-tokyo-office",
    "cv_data/experiments/run ya29.a0AfH6SMBx123456789",
    "ſecret=abcdef Secret = 'hushhush' PASSWD:xyzzy[hidden] x_api-key=[hidden]",
    "a" * 5000 + " token=" + "b1" * 50,
]
VALUES: list[Any] = [
    "text",
    {"query": "release notes", "page": 2},
    {"b": [1, 2.5, None, True], "a": {"z": "ü", "é": '\x7f\n"😀'}},
    [],
    {},
    None,
    [[], {}, "\u2028"],
]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    running = Node()
    yield running
    running.close()


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_same_secrets_are_hidden(node: Node, text: str) -> None:
    assert node.say({"what": "redacted", "args": [text]}, None) == redacted(text)


def test_same_variables_are_hidden(node: Node) -> None:
    environment = {
        "DB_PASSWORD": "correct horse",
        "TOKEN": "correct horse battery",
        "HOME": "/home/me/x",
        "API_KEY": "short",
        "API_KEY_FILE": "some/where/else",
        "SIGNING_KEY": "ABCdef0123456789xyz",
        "PRIMARY_KEY": "identifier",
    }
    text = " | ".join(environment.values())
    assert node.say({"what": "withoutValues", "args": [text, environment]}, None) == without_values(text, environment)


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_hashes_are_the_same(node: Node, value: Any) -> None:
    assert node.say({"what": "hashOf", "args": [value]}, None) == hash_of(value)
