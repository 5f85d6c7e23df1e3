"""The UnixFS node that a dag-pb block carries as its data.

Source: ipfs/specs src/unixfs.md, section "Data format".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import MAX_LINKS_PER_BLOCK
from ipfs_kit_py.core.errors import InvalidBlock
from ipfs_kit_py.dag.protobuf import MAX_UINT64, number, read_number, read_span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

RAW, DIRECTORY, FILE, METADATA, SYMLINK, HAMT_SHARD = range(6)
TYPE_NAMES = ("raw", "directory", "file", "metadata", "symlink", "hamt-shard")

_TYPE, _DATA, _FILESIZE, _BLOCKSIZES, _HASH_TYPE, _FANOUT, _MODE, _MTIME = range(1, 9)
_NUMBERS = frozenset({_TYPE, _FILESIZE, _HASH_TYPE, _FANOUT, _MODE})
_ONE_BLOCKSIZE = 0x20  # tag of field 4 as a number
_COPIED_BYTES = 64 << 10  # a node up to this size is read as bytes, a larger one in place: it holds a file's content


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
    parts: list[Buffer] = [b"\x08", number(node.type)]
    if node.data is not None:
        parts += (b"\x12", number(memoryview(node.data).nbytes), node.data)
    if node.filesize is not None:
        parts += (b"\x18", number(node.filesize))
    for size in node.blocksizes:
        parts += (b"\x20", number(size))
    for tag, value in ((b"\x28", node.hash_type), (b"\x30", node.fanout), (b"\x38", node.mode)):
        if value is not None:
            parts += (tag, number(value))
    if node.mtime is not None:
        seconds, nanoseconds = node.mtime
        time = b"\x08" + number(seconds & MAX_UINT64)  # protobuf's int64: two's complement
        if nanoseconds:
            time += b"\x15" + nanoseconds.to_bytes(4, "little")
        parts += (b"\x42", number(len(time)), time)
    return b"".join(parts)


def decode(data: Buffer) -> FSNode:
    """Read a node; raises ``InvalidBlock`` for what is no UnixFS. Unknown fields are passed over, and of a field that
    stands there twice the last one counts, as everywhere in protobuf.

    The content of a large node is a view into ``data``.
    """
    view = memoryview(data).cast("B")
    try:
        return _decode(bytes(view) if len(view) <= _COPIED_BYTES else view)
    except InvalidBlock as error:
        raise InvalidBlock(f"UnixFS: {error}") from None


def _decode(raw: bytes | memoryview) -> FSNode:
    values: dict[int, int] = {}
    content: Buffer | None = None
    sizes: list[int] = []
    mtime: tuple[int, int] | None = None
    at, stop = 0, len(raw)
    while at < stop:
        if raw[at] == _ONE_BLOCKSIZE:
            at = _read_sizes(raw, at, sizes)
            continue
        tag, at = read_number(raw, at)
        name, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = read_number(raw, at)
            if name in _NUMBERS:
                values[name] = value
        elif wire == 2:
            start, at = read_span(raw, at, stop)
            if name == _DATA:
                content = raw[start:at]
            elif name == _BLOCKSIZES:  # packed
                _read_packed(raw, start, at, sizes)
            elif name == _MTIME:
                mtime = _read_mtime(bytes(raw[start:at]))
        else:
            at = _skip(wire, at, stop)
    kind = values.get(_TYPE)
    if kind is None or kind >= len(TYPE_NAMES):
        raise InvalidBlock(f"node type {kind} is not known")
    found = values.get
    return FSNode(kind, content, found(_FILESIZE), sizes, found(_HASH_TYPE), found(_FANOUT), found(_MODE), mtime)


def _read_sizes(raw: bytes | memoryview, at: int, sizes: list[int]) -> int:
    """One block size, and those behind it that are the same: most are."""
    value, end = read_number(raw, at + 1)
    piece, step = raw[at:end], end - at
    while True:
        _add_size(sizes, value)
        at = end
        end += step
        if raw[at:end] != piece:
            return at


def _read_packed(raw: bytes | memoryview, at: int, stop: int, sizes: list[int]) -> None:
    while at < stop:
        value, at = read_number(raw, at)
        _add_size(sizes, value)
    if at > stop:
        raise InvalidBlock("the block sizes are cut short")


def _add_size(sizes: list[int], value: int) -> None:
    if len(sizes) == MAX_LINKS_PER_BLOCK:
        raise InvalidBlock(f"more than {MAX_LINKS_PER_BLOCK} block sizes")
    sizes.append(value)


def _read_mtime(raw: bytes) -> tuple[int, int] | None:
    """Seconds and nanoseconds; ``None`` where they are no time: a file is not unreadable for that."""
    seconds, nanoseconds, at = None, 0, 0
    while at < len(raw):
        tag, at = read_number(raw, at)
        if tag == 0x08:
            seconds, at = read_number(raw, at)
            seconds -= (seconds >> 63) << 64
        elif tag == 0x15:
            nanoseconds, at = int.from_bytes(raw[at : at + 4], "little"), _skip(5, at, len(raw))
        elif tag & 7 == 0:
            _, at = read_number(raw, at)
        elif tag & 7 == 2:
            _, at = read_span(raw, at, len(raw))
        else:
            at = _skip(tag & 7, at, len(raw))
    return None if seconds is None or nanoseconds > 999_999_999 else (seconds, nanoseconds)


def _skip(wire: int, at: int, stop: int) -> int:
    size = {1: 8, 5: 4}.get(wire)
    if size is None or at + size > stop:
        raise InvalidBlock(f"wire type {wire} is not known or cut short")
    return at + size
