"""Text of strangers, such as the names of a file's tensors, on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text without what moves a terminal's cursor or forges lines of output."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
