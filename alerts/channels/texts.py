"""Texts as receivers accept them: of limited length, and without control characters."""

from __future__ import annotations


def cut(text: str, length: int) -> str:
    """Return at most `length` characters."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def cut_markdown(text: str, length: int) -> str:
    """As `cut`, without leaving a backslash whose character was cut off."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip(chr(92))}…"


def one_line(text: str) -> str:
    """Replace what cannot be printed, line breaks too, with spaces."""
    return "".join(character if character.isprintable() else " " for character in text)


def printable(text: str) -> str:
    """Replace what cannot be printed, except for line breaks, with spaces."""
    return "\n".join(map(one_line, text.split("\n")))
