"""Client warnings and the keys under which hot rows store them."""

from __future__ import annotations

import pytest

from agents.domain.client_warning import ClientWarning


@pytest.mark.parametrize(
    ("key", "warning"),
    [
        ("7:loop:31", ClientWarning(7, "loop", 31)),
        ("7:cost:32:day50000000", ClientWarning(7, "cost", 32, "day50000000")),
        ("8:cost:33:month1:2", ClientWarning(8, "cost", 33, "month1:2")),
    ],
)
def test_stored_keys_decode_and_encode(key: str, warning: ClientWarning) -> None:
    assert ClientWarning.decode(key) == warning
    assert warning.encode() == key


def test_only_loops_are_loops() -> None:
    assert ClientWarning.decode("1:loop:2").is_loop
    assert not ClientWarning.decode("1:cost:2:run5").is_loop


@pytest.mark.parametrize("key", ["", "1", "1:loop", "one:loop:2", "1:loop:two"])
def test_other_texts_are_refused(key: str) -> None:
    with pytest.raises(ValueError):
        ClientWarning.decode(key)
