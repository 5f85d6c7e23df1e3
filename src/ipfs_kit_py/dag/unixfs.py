"""The UnixFS node that a dag-pb block carries as its data.

Source: ipfs/specs src/unixfs.md, section "Data format".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ipfs_kit_py.core import varint
from ipfs_kit_py.core.config import MAX_LINKS_PER_BLOCK
from ipfs_kit_py.core.errors import InvalidBlock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

RAW, DIRECTORY, FILE, METADATA, SYMLINK, HAMT_SHARD = range(6)
TYPE_NAMES = ("raw", "directory", "file", "metadata", "symlink", "hamt-shard")
MURMUR3 = 0x22


@dataclass(frozen=True, slots=True)
class FSNode:
    """A UnixFS node. ``None`` is an absent field; ``mtime`` is (seconds, nanoseconds); sizes in bytes."""

    type: int
    data: Buffer | None = None
    filesize: int | None = None
    blocksizes: Sequence[int] = field(default=())
    hash_type: int | None = None
    fanout: int | None = None
    mode: int | None = None
    mtime: tuple[int, int] | None = None


def encode(node: FSNode) -> bytes:
    """The node's bytes, fields in order, as Kubo writes them."""
    parts: list[Buffer] = [b"\x08", varint.encode(node.type)]
    if node.data is not None:
        parts += (b"\x12", varint.encode(memoryview(node.data).nbytes), node.data)
    if node.filesize is not None:
        parts += (b"\x18", varint.encode(node.filesize))
    for size in node.blocksizes:
        parts += (b"\x20", varint.encode(size))
    for tag, value in ((b"\x28", node.hash_type), (b"\x30", node.fanout), (b"\x38", node.mode)):
        if value is not None:
            parts += (tag, varint.encode(value))
    if node.mtime is not None:
        seconds, nanoseconds = node.mtime
        time = b"\x08" + _signed(seconds)
        if nanoseconds:
            time += b"\x15" + nanoseconds.to_bytes(4, "little")
        parts += (b"\x42", varint.encode(len(time)), time)
    return b"".join(parts)


def _signed(value: int) -> bytes:
    if value >= 0:
        return varint.encode(value)
    out, rest = bytearray(), value & (1 << 64) - 1  # protobuf's int64: ten bytes of two's complement
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def decode(data: Buffer) -> FSNode:
    """Read a node; raises ``InvalidBlock`` for what is no UnixFS. Unknown fields are passed over."""
    raw = bytes(data)
    values: dict[int, int] = {}
    content: bytes | None = None
    sizes: list[int] = []
    mtime: tuple[int, int] | None = None
    at = 0
    while at < len(raw):
        tag, at = _number(raw, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _number(raw, at)
            if number == 4:
                sizes.append(value)
            else:
                values[number] = value
        elif wire == 2:
            body, at = _bytes(raw, at)
            if number == 2:
                content = body
            elif number == 4:  # packed
                sizes += _packed(body)
            elif number == 8:
                mtime = _mtime(body)
        else:
            at = _skip(wire, at, len(raw))
        if len(sizes) > MAX_LINKS_PER_BLOCK:
            raise InvalidBlock(f"UnixFS: more than {MAX_LINKS_PER_BLOCK} block sizes")
    kind = values.get(1)
    if kind is None or kind >= len(TYPE_NAMES):
        raise InvalidBlock(f"UnixFS: node type {kind} is not known")
    return FSNode(kind, content, values.get(3), sizes, values.get(5), values.get(6), values.get(7), mtime)


def _mtime(raw: bytes) -> tuple[int, int]:
    seconds = nanoseconds = at = 0
    while at < len(raw):
        tag, at = _number(raw, at)
        if tag == 0x08:
            seconds, at = _number(raw, at)
            seconds -= (seconds >> 63) << 64
        elif tag == 0x15:
            nanoseconds, at = int.from_bytes(raw[at : at + 4], "little"), _skip(5, at, len(raw))
        else:
            raise InvalidBlock("UnixFS: a modification time has an unknown field")
    return seconds, nanoseconds


def _packed(raw: bytes) -> list[int]:
    sizes, at = [], 0
    while at < len(raw):
        size, at = _number(raw, at)
        sizes.append(size)
    return sizes


def _skip(wire: int, at: int, end: int) -> int:
    size = {1: 8, 5: 4}.get(wire)
    if size is None or at + size > end:
        raise InvalidBlock(f"UnixFS: wire type {wire} is not known or cut short")
    return at + size


def _number(raw: bytes, at: int) -> tuple[int, int]:
    try:
        value, at = varint.decode(raw, at, strict=False, max_bytes=10)
    except (IndexError, ValueError) as error:
        raise InvalidBlock(f"UnixFS: a number is cut short or too long: {error}") from None
    return value & (1 << 64) - 1, at


def _bytes(raw: bytes, at: int) -> tuple[bytes, int]:
    size, at = _number(raw, at)
    if size > len(raw) - at:
        raise InvalidBlock(f"UnixFS: a field of {size} bytes is cut short")
    return raw[at : at + size], at + size
