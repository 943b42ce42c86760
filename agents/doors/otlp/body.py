"""The bytes of a request: compressed or not, at most 64 MiB. Pure."""

from __future__ import annotations

import zlib
from typing import Final

from teams.errors import ApiError

# The default of the OTLP specification, before and after decompression.
MAX_BODY: Final = 64 * 1024 * 1024
PIECE: Final = 1024 * 1024
CHUNK: Final = 64 * 1024
# A gzip body may consist of several members. A million empty ones fit into it, too, and each costs time.
MAX_MEMBERS: Final = 1_000
# Encodings, one around the other. Nobody needs more than one.
MAX_ENCODINGS: Final = 3
GZIP, ZLIB, RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


def too_large() -> ApiError:
    return ApiError(413, "too_large", f"The body is larger than {MAX_BODY // 1024 // 1024} MiB. Send smaller batches.")


def decompressed(body: bytes, encoding: str) -> bytes:
    """The body without its Content-Encoding.

    Raises ApiError: 400 when it is not compressed as it says, 413 when it would be too large, 415 for other encodings.
    A bomb is refused as soon as its output passes the limit.
    """
    names = [part.strip().lower() for part in encoding.split(",") if part.strip()]
    if len(names) > MAX_ENCODINGS:
        raise ApiError(415, "unsupported_media_type", f"Content-Encoding: at most {MAX_ENCODINGS} layers.")
    for name in reversed(names):
        if name in ("gzip", "x-gzip"):
            body = _inflated(body, GZIP)
        elif name == "deflate":
            # The specification means zlib, some clients send the bare stream.
            body = _inflated(body, ZLIB if _is_zlib(body) else RAW)
        elif name != "identity":
            raise ApiError(415, "unsupported_media_type", f"Content-Encoding {name[:40]}: send gzip, deflate or none.")
    if len(body) > MAX_BODY:
        raise too_large()
    return body


def _is_zlib(body: bytes) -> bool:
    return len(body) >= 2 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0


def _inflated(body: bytes, window: int) -> bytes:
    rest, parts, size, members = memoryview(body), [], 0, 0
    try:
        while rest:
            if members == MAX_MEMBERS:
                raise ApiError(400, "bad_request", f"The compressed body has more than {MAX_MEMBERS} parts.")
            stream, members = zlib.decompressobj(window), members + 1
            while not stream.eof:
                # A piece at a time: whatever is given is copied for each member that ends in it.
                piece = rest[:CHUNK]
                part = stream.decompress(piece, PIECE)
                used = len(piece) - len(stream.unconsumed_tail) - len(stream.unused_data)
                rest = rest[used:]
                size += len(part)
                if size > MAX_BODY:
                    raise too_large()
                parts.append(part)
                if not part and not used and not stream.eof:
                    raise ApiError(400, "bad_request", "The compressed body is cut off.")
    except zlib.error as error:
        raise ApiError(400, "bad_request", f"The body cannot be decompressed ({error}).") from None
    return b"".join(parts)
