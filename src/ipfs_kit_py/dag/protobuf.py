"""The two pieces of the protobuf wire format that dag-pb and UnixFS are made of: 64-bit numbers and lengths.

Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.core import varint
from ipfs_kit_py.core.errors import InvalidBlock

if TYPE_CHECKING:
    from ipfs_kit_py.core.cid import CID

MAX_UINT64 = (1 << 64) - 1
_MAX_SHIFT = 70  # ten bytes of seven bits


def read_number(raw: bytes | memoryview, at: int) -> tuple[int, int]:
    """The unsigned number at ``at`` and the offset after it; ``InvalidBlock`` where it is cut short or over 64 bits."""
    value = shift = 0
    end = at
    try:
        while True:
            byte = raw[end]
            end += 1
            if byte < 0x80:
                break
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift == _MAX_SHIFT:
                raise InvalidBlock(f"the number at byte {at} is longer than 64 bits")
    except IndexError:
        raise InvalidBlock(f"the number at byte {at} is cut short") from None
    value |= byte << shift
    if value > MAX_UINT64:
        raise InvalidBlock(f"the number at byte {at} is longer than 64 bits")
    return value, end


def read_span(raw: bytes | memoryview, at: int, stop: int) -> tuple[int, int]:
    """Start and end of the length-delimited field whose length is at ``at``; it has to end by ``stop``."""
    size, start = read_number(raw, at)
    end = start + size
    if end > stop:
        raise InvalidBlock(f"the field at byte {at} is {size} bytes long and cut short")
    return start, end


def number(value: int) -> bytes:
    """An unsigned number; ``InvalidBlock`` for one that does not fit 64 bits."""
    if 0 <= value < 0x80:
        return bytes((value,))
    try:
        return varint.encode(value, bits=64)
    except ValueError as error:
        raise InvalidBlock(str(error)) from None


def named(error: InvalidBlock, cid: CID) -> InvalidBlock:
    """The same error saying which block it is about."""
    return InvalidBlock(f"block {cid}: {error}")
