"""Bitswap messages: bounded protobuf by hand, so that blocks are never copied between the buffer and the message.

Source: ipfs/specs src/bitswap-protocol.md. Versions: 1.0.0 has plain blocks and no presences, 1.1.0 has blocks with CID
prefixes, 1.2.0 has presences and want types.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ipfs_kit_py.core import varint
from ipfs_kit_py.core.cid import CID, MAX_CID_BYTES
from ipfs_kit_py.core.config import (
    MAX_BLOCK_BYTES,
    MAX_BLOCKS_PER_MESSAGE,
    MAX_ENTRIES_PER_MESSAGE,
    MAX_FIELDS_PER_MESSAGE,
    MAX_PRESENCES_PER_MESSAGE,
)
from ipfs_kit_py.core.errors import InvalidCID, ProtocolViolation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

V120, V110, V100 = PROTOCOLS = ("/ipfs/bitswap/1.2.0", "/ipfs/bitswap/1.1.0", "/ipfs/bitswap/1.0.0")

PREFIX_V0 = b"\x00\x70\x12\x20"  # what a plain block of 1.0.0 stands for: CIDv0, dag-pb, sha2-256, 32 bytes
MAX_PREFIX_BYTES = 40  # four varints
_INT32_MAX = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a wantlist. ``want_have`` asks whether the peer has the block instead of for the block itself."""

    cid: CID
    priority: int = 1
    cancel: bool = False
    want_have: bool = False
    send_dont_have: bool = False


@dataclass(slots=True)
class Message:
    """A bitswap message. ``blocks`` are (CID prefix, bytes); ``skipped`` counts entries with an unusable CID."""

    entries: list[Entry] = field(default_factory=list)
    full: bool = False
    blocks: list[tuple[bytes, Buffer]] = field(default_factory=list)
    haves: list[CID] = field(default_factory=list)
    dont_haves: list[CID] = field(default_factory=list)
    pending_bytes: int = 0
    skipped: int = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to say."""
        return not (self.entries or self.full or self.blocks or self.haves or self.dont_haves)


def entry_size(entry: Entry) -> int:
    """About how many bytes an entry takes in a message."""
    return len(entry.cid.raw) + 20


def presence_size(cid: CID) -> int:
    """About how many bytes a HAVE or DONT_HAVE takes in a message."""
    return len(cid.raw) + 8


# --- reading ----------------------------------------------------------------------------------------------------------


def decode(data: Buffer) -> Message:
    """Read a message; its blocks are views of ``data``. Raises ``ProtocolViolation`` for what is malformed or too much.

    An entry or presence whose CID cannot be used is skipped and counted.
    """
    return _Decoder().decode(memoryview(data).cast("B"))


class _Decoder:
    """One message being read. ``IndexError`` and ``ValueError`` inside mean that it is malformed."""

    def __init__(self) -> None:
        self.message = Message()
        self._fields_left = MAX_FIELDS_PER_MESSAGE

    def decode(self, view: memoryview) -> Message:
        message = self.message
        try:
            for number, wire, value, body in self._fields(view):
                if number == 1 and wire == 2:
                    self._wantlist(body)
                elif number == 2 and wire == 2:
                    self._add_block(PREFIX_V0, body)
                elif number == 3 and wire == 2:
                    self._block(body)
                elif number == 4 and wire == 2:
                    self._presence(body)
                elif number == 5 and wire == 0:
                    message.pending_bytes = value & _INT32_MAX
        except (IndexError, ValueError) as error:
            raise ProtocolViolation(f"malformed bitswap message: {error}") from None
        return message

    def _fields(self, view: memoryview) -> Iterator[tuple[int, int, int, memoryview]]:
        """Number, wire type, value and body of each field."""
        at, end = 0, len(view)
        nothing = view[:0]
        while at < end:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise ValueError(f"more than {MAX_FIELDS_PER_MESSAGE} fields")
            tag = view[at]
            at += 1
            if tag >= 0x80:
                tag, at = varint.decode(view, at - 1, strict=False)
            wire = tag & 7
            if wire == 2:
                size = view[at]
                at += 1
                if size >= 0x80:
                    size, at = varint.decode(view, at - 1, strict=False)
                if size > end - at:
                    raise ValueError(f"a field of {size} bytes is cut short")
                yield tag >> 3, 2, 0, view[at : at + size]
                at += size
            elif wire == 0:
                value = view[at]
                at += 1
                if value >= 0x80:
                    value, at = varint.decode(view, at - 1, strict=False, max_bytes=10)
                yield tag >> 3, 0, value, nothing
            elif wire in (1, 5):
                at += 8 if wire == 1 else 4
                if at > end:
                    raise ValueError("a fixed field is cut short")
            else:
                raise ValueError(f"wire type {wire} is not known")

    def _wantlist(self, view: memoryview) -> None:
        message = self.message
        for number, wire, value, body in self._fields(view):
            if number == 1 and wire == 2:
                if len(message.entries) + message.skipped >= MAX_ENTRIES_PER_MESSAGE:
                    raise ValueError(f"more than {MAX_ENTRIES_PER_MESSAGE} wantlist entries")
                self._entry(body)
            elif number == 2 and wire == 0:
                message.full = bool(value)

    def _entry(self, view: memoryview) -> None:
        raw = view[:0]
        values = [0, 0, 1, 0, 0, 0]  # by field number: priority is 1 where it is absent
        for number, wire, value, body in self._fields(view):
            if wire == 2 and number == 1:
                raw = body
            elif wire == 0 and number < 6:
                values[number] = value
        cid = self._usable(raw)
        if cid is not None:
            priority = values[2] if values[2] <= _INT32_MAX else 1  # negative ones come as ten bytes
            self.message.entries.append(Entry(cid, priority, bool(values[3]), values[4] == 1, bool(values[5])))

    def _usable(self, raw: memoryview) -> CID | None:
        if len(raw) <= MAX_CID_BYTES:
            try:
                return CID.from_bytes(raw)
            except InvalidCID:
                pass
        self.message.skipped += 1
        return None

    def _block(self, view: memoryview) -> None:
        prefix = data = view[:0]
        for number, wire, _value, body in self._fields(view):
            if wire == 2 and number == 1:
                prefix = body
            elif wire == 2 and number == 2:
                data = body
        if not 4 <= len(prefix) <= MAX_PREFIX_BYTES:
            raise ValueError(f"a block's prefix has {len(prefix)} bytes")
        self._add_block(bytes(prefix), data)

    def _add_block(self, prefix: bytes, data: memoryview) -> None:
        if len(data) > MAX_BLOCK_BYTES:
            raise ValueError(f"a block of {len(data)} bytes; the limit is {MAX_BLOCK_BYTES}")
        if len(self.message.blocks) >= MAX_BLOCKS_PER_MESSAGE:
            raise ValueError(f"more than {MAX_BLOCKS_PER_MESSAGE} blocks")
        self.message.blocks.append((prefix, data))

    def _presence(self, view: memoryview) -> None:
        raw, kind = view[:0], 0
        for number, wire, value, body in self._fields(view):
            if number == 1 and wire == 2:
                raw = body
            elif number == 2 and wire == 0:
                kind = value
        message = self.message
        if len(message.haves) + len(message.dont_haves) + message.skipped >= MAX_PRESENCES_PER_MESSAGE:
            raise ValueError(f"more than {MAX_PRESENCES_PER_MESSAGE} presences")
        cid = self._usable(raw)
        if cid is not None:
            if kind == 0:
                message.haves.append(cid)
            elif kind == 1:
                message.dont_haves.append(cid)
            else:
                message.skipped += 1  # of a later version


def split_prefix(prefix: bytes) -> tuple[int, int, int, int]:
    """Version, codec, hash function and digest length of a block's prefix. ``ProtocolViolation`` where it is none."""
    try:
        version, at = varint.decode(prefix)
        codec, at = varint.decode(prefix, at)
        code, at = varint.decode(prefix, at)
        size, at = varint.decode(prefix, at)
    except (IndexError, ValueError) as error:
        raise ProtocolViolation(f"a block's prefix is malformed: {error}") from None
    if at != len(prefix):
        raise ProtocolViolation("a block's prefix has bytes too many")
    return version, codec, code, size


# --- writing ----------------------------------------------------------------------------------------------------------


def encode(message: Message, protocol: str = V120) -> list[Buffer]:
    """The message's bytes in parts, blocks as they are. What the protocol's version does not know is left out."""
    presences = protocol == V120
    parts: list[Buffer] = []
    wantlist = b"".join(
        _delimited(b"\x0a", _encode_entry(entry, full=presences))
        for entry in message.entries
        if presences or not entry.want_have or entry.cancel
    )
    if message.full:
        wantlist += b"\x10\x01"
    if wantlist:
        parts.append(_delimited(b"\x0a", wantlist))
    if presences:
        named = [(cid, b"") for cid in message.haves] + [(cid, b"\x10\x01") for cid in message.dont_haves]
        parts += (_delimited(b"\x22", _delimited(b"\x0a", cid.raw) + kind) for cid, kind in named)
        if message.pending_bytes:
            parts.append(b"\x28" + varint.encode(min(message.pending_bytes, _INT32_MAX)))
    for prefix, data in message.blocks:
        size = memoryview(data).nbytes
        if protocol == V100:
            parts.append(b"\x12" + varint.encode(size))
        else:
            head = _delimited(b"\x0a", prefix) + b"\x12" + varint.encode(size)
            parts.append(b"\x1a" + varint.encode(len(head) + size) + head)
        parts.append(data)
    return parts


def _delimited(tag: bytes, body: bytes) -> bytes:
    return tag + varint.encode(len(body)) + body


def _encode_entry(entry: Entry, *, full: bool) -> bytes:
    parts = [_delimited(b"\x0a", entry.cid.raw), b"\x10", varint.encode(min(max(entry.priority, 0), _INT32_MAX))]
    if entry.cancel:
        parts.append(b"\x18\x01")
    if full and entry.want_have:
        parts.append(b"\x20\x01")
    if full and entry.send_dont_have:
        parts.append(b"\x28\x01")
    return b"".join(parts)
