"""Unsigned varints of multiformats: 7 bits a byte, least significant first, at most 9 bytes, minimal.

Source: github.com/multiformats/unsigned-varint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAX_BYTES = 9  # the format's own limit: 63 bits
MAX_BITS = 63


def encode(value: int, *, bits: int = MAX_BITS) -> bytes:
    """The varint of ``value`` (0 to 2**bits - 1); raises ``ValueError`` outside of that."""
    if 0 <= value < 0x80:
        return bytes((value,))
    if not 0 <= value < 1 << bits:
        raise ValueError(f"{value:#x} does not fit an unsigned varint of {bits} bits")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(data: Buffer, offset: int = 0, *, strict: bool = True, max_bytes: int = MAX_BYTES) -> tuple[int, int]:
    """The value at ``offset`` and the offset after it.

    Raises ``IndexError`` where the data ends first (more bytes may mend it) and ``ValueError`` for a varint that is
    longer than ``max_bytes`` or, when ``strict``, not minimal (no bytes can).
    """
    view = data if isinstance(data, bytes | bytearray) else memoryview(data)
    value = shift = 0
    for at in range(offset, offset + max_bytes):
        byte = view[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if strict and byte == 0 and shift:
                raise ValueError("varint is not minimal")
            return value, at + 1
        shift += 7
    raise ValueError(f"varint is longer than {max_bytes} bytes")
