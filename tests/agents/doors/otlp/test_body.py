"""Compressed bodies: whatever they unfold to, they cost no more than their limit."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable

import pytest

from agents.doors.otlp import body
from teams.errors import ApiError

TEXT = random.Random(1).randbytes(200_000)
EMPTY = gzip.compress(b"", mtime=0)


def refusal(sent: bytes, encoding: str) -> tuple[int, str]:
    with pytest.raises(ApiError) as refused:
        body.decompressed(sent, encoding)
    return refused.value.http_status, refused.value.message


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("", bytes),
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda text: zlib.compress(text)[2:-4]),
        ("gzip, gzip", lambda text: gzip.compress(gzip.compress(text))),
        ("gzip", lambda text: b"".join(gzip.compress(text[at : at + 900]) for at in range(0, len(text), 900))),
        ("gzip", lambda text: EMPTY * 500 + gzip.compress(text) + EMPTY),
    ],
)
def test_body_is_read(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    assert body.decompressed(compress(TEXT), encoding) == TEXT


@pytest.mark.parametrize("length", [0, 1, 64 * 1024, 3 * 1024 * 1024])
def test_repetitive_body_is_read(length: int) -> None:
    assert body.decompressed(gzip.compress(b"a" * length), "gzip") == b"a" * length


def test_million_members_are_refused_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would have copied all that came after it: minutes for one request."""
    made: list[int] = []
    plain = zlib.decompressobj

    def counted(window: int) -> object:
        made.append(window)
        return plain(window)

    monkeypatch.setattr("agents.doors.otlp.body.zlib.decompressobj", counted)
    assert refusal(EMPTY * 1_000_000, "gzip") == (400, "The compressed body has more than 1000 parts.")
    assert len(made) <= body.MAX_MEMBERS


@pytest.mark.parametrize("layers", [1, 2])
def test_bomb_is_refused(layers: int) -> None:
    bomb = b"\0" * (body.MAX_BODY + 1)
    for _ in range(layers):
        bomb = gzip.compress(bomb)
    assert refusal(bomb, ", ".join(["gzip"] * layers))[0] == 413


def test_layers_are_limited() -> None:
    assert refusal(b"", "gzip, gzip, gzip, gzip")[0] == 415
    assert refusal(b"", "br")[0] == 415


BROKEN = {
    "no checksum": gzip.compress(TEXT)[:-9],
    "cut": gzip.compress(TEXT)[:100],
    "half a header": b"\x1f\x8b\x08",
    "text": b"no",
    "empty, cut": EMPTY[:-4],
}


@pytest.mark.parametrize("sent", BROKEN)
def test_broken_bodies_are_refused(sent: str) -> None:
    assert refusal(BROKEN[sent], "gzip")[0] == 400
