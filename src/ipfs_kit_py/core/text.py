"""Text from strangers, made safe to print."""

from __future__ import annotations


def printable(text: str) -> str:
    """``text`` with control, format and undecodable characters as escapes, so that it cannot drive a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8, kept by surrogateescape
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")
