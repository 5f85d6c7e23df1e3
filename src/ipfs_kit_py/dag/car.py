"""CAR archives: version 1 and 2 read as they come, version 1 written.

Sections are checked for their bounds before anything is kept, nothing is allocated from a length field, and every
block's hash is checked. A driver that must not import half an archive reads it to the end before it pins or names
anything. The index of a version 2 is not read. Source: ipld/ipld specs/transport/car.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.core import varint
from ipfs_kit_py.core.cid import CID, Block
from ipfs_kit_py.core.config import MAX_CAR_HEADER_BYTES, MAX_CAR_ROOTS, MAX_CAR_SECTION_BYTES
from ipfs_kit_py.core.errors import InvalidBlock, InvalidCID
from ipfs_kit_py.dag import dag_cbor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

_V2_PRAGMA = b"\xa1\x67version\x02"
_V2_HEADER_BYTES = 40
_V2_DATA_START = 51  # the least: length, pragma and header


class Header(NamedTuple):
    """What an archive says of itself."""

    version: int
    roots: list[CID]


class Archive(NamedTuple):
    """A whole archive."""

    header: Header
    blocks: list[Block]


class CarReader:
    """Feed it bytes; it returns the blocks that are complete. ``header`` is set before the first of them.

    Raises ``InvalidBlock`` with the offset where the archive is malformed, too large, or a block's hash is wrong; it
    takes nothing more then, and ``close`` raises the same. ``close`` also says where the end came in the middle.
    ``verify`` is off for callers that hash the blocks themselves, in batches on a worker thread.
    """

    def __init__(self, *, verify: bool = True) -> None:
        self._verify = verify
        self.header: Header | None = None
        self._failure = ""
        self._buffer = bytearray()
        self._offset = 0  # of the buffer in the archive
        self._version = 0
        self._skip = 0
        self._left: int | None = None  # bytes of the inner archive of a version 2
        self._over = False

    def feed(self, data: Buffer) -> list[Block]:
        """Take the archive's next bytes; the blocks that are complete with them, in order."""
        blocks: list[Block] = []
        self.feed_into(data, blocks)
        return blocks

    def feed_into(self, data: Buffer, blocks: list[Block]) -> None:
        """``feed``, adding to a list: what stands in front of a failure is there even though this raises."""
        if self._failure:
            raise InvalidBlock(self._failure)
        if self._over:
            return
        self._buffer += data
        while self._advance(blocks):
            pass

    def close(self) -> Header:
        """The archive has ended; what it said of itself. ``InvalidBlock`` where it ended too early or is malformed."""
        if self._failure:
            raise InvalidBlock(self._failure)
        if self.header is None or (self._buffer and not self._over) or (self._left and not self._over):
            raise self._invalid("the archive is cut short")
        return self.header

    def _advance(self, blocks: list[Block]) -> bool:
        if self._over:
            self._buffer.clear()
            return False
        if self._skip:
            size = min(self._skip, len(self._buffer))
            self._take(size)
            self._skip -= size
            return size > 0 and not self._skip
        if self._version == 0:
            return self._read_pragma()
        if self._version == 2 and self._left is None:
            return self._read_v2_header()
        if self._left == 0:
            self._over = True  # the index of a version 2 follows: it is not needed
            return True
        section = self._section(MAX_CAR_SECTION_BYTES if self.header else MAX_CAR_HEADER_BYTES)
        if section is None:
            return False
        if self.header is None:
            self.header = self._inner_header(section)
        else:
            blocks.append(self._block(section))
        return True

    def _read_pragma(self) -> bool:
        section = self._section(MAX_CAR_HEADER_BYTES)
        if section is None:
            return False
        value = self._cbor(section)
        version = value.get("version")
        self._version = version if type(version) is int else -1
        if self._version == 1:
            self.header = Header(1, self._roots(value))
        elif self._version != 2:
            raise self._invalid(f"version {version!r:.40} is not known")
        elif section != _V2_PRAGMA:
            raise self._invalid("it does not begin as version 2 does")
        return True

    def _read_v2_header(self) -> bool:
        if len(self._buffer) < _V2_HEADER_BYTES:
            return False
        raw = self._take(_V2_HEADER_BYTES)
        start = int.from_bytes(raw[16:24], "little")
        size = int.from_bytes(raw[24:32], "little")
        if start < _V2_DATA_START or not 0 < size < 1 << 62:
            raise self._invalid(f"the inner archive is said to be {size} bytes at {start}")
        self._skip = start - _V2_DATA_START
        self._left = size
        return True

    def _inner_header(self, section: bytes) -> Header:
        value = self._cbor(section)
        version = value.get("version")
        if type(version) is not int or version != 1:
            raise self._invalid("the inner archive is not version 1")
        return Header(2, self._roots(value))

    def _cbor(self, section: bytes) -> dict[str, object]:
        try:
            value = dag_cbor.decode(section, strict=False)
        except InvalidBlock as error:
            raise self._invalid(f"the header is no dag-cbor ({error})") from None
        if not isinstance(value, dict):
            raise self._invalid("the header is no map")
        return value

    def _roots(self, value: dict[str, object]) -> list[CID]:
        roots = value.get("roots")
        if not isinstance(roots, list) or not all(isinstance(root, CID) for root in roots):
            raise self._invalid("the header names no roots")
        if len(roots) > MAX_CAR_ROOTS:
            raise self._invalid(f"more than {MAX_CAR_ROOTS} roots")
        return roots

    def _section(self, limit: int) -> bytes | None:
        """The next length-prefixed section, ``None`` where it is not all here."""
        try:
            size, start = varint.decode(self._buffer)
        except IndexError:
            return None
        except ValueError as error:
            raise self._invalid(f"a section's length is malformed: {error}") from None
        if size == 0:
            raise self._invalid("a section of no bytes")
        if size > limit:
            raise self._invalid(f"a section of {size} bytes; the limit is {limit}")
        if self._left is not None and start + size > self._left:
            raise self._invalid("a section goes beyond the inner archive")
        if len(self._buffer) < start + size:
            return None
        if self._left is not None:
            self._left -= start + size
        self._take(start)
        return self._take(size)

    def _take(self, size: int) -> bytes:
        found = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        self._offset += size
        return found

    def _block(self, section: bytes) -> Block:
        try:
            cid, start = CID.read(section)
            cid.check_allowed()
        except InvalidCID as error:
            raise self._invalid(f"a section without a CID: {error}") from None
        data = section[start:]
        if self._verify and not cid.verify(data):
            raise self._invalid(f"the bytes of block {cid} have another hash")
        return Block(cid, data)

    def _invalid(self, why: str) -> InvalidBlock:
        self._over = True
        self._buffer.clear()
        self._failure = f"CAR: {why} (at byte {self._offset})"
        return InvalidBlock(self._failure)


def read_car(data: Buffer) -> Archive:
    """An archive that is in memory, whole; raises as ``CarReader``."""
    reader = CarReader()
    blocks = reader.feed(data)
    return Archive(reader.close(), blocks)


def header(roots: Sequence[CID]) -> bytes:
    """The beginning of a version 1 archive."""
    raw = dag_cbor.encode({"roots": list(roots), "version": 1})
    return varint.encode(len(raw)) + raw


def section(cid: CID, data: Buffer) -> tuple[bytes, Buffer]:
    """One block of a version 1 archive: what stands before its bytes, and the bytes."""
    return varint.encode(len(cid.raw) + memoryview(data).nbytes) + cid.raw, data
