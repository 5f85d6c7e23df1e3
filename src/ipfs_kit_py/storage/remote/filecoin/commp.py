"""Filecoin piece commitments: what a payload's CommP is, fed in any pieces, and the two CIDs that name it.

A piece is a payload padded with zeros to 127 times a power of two bytes; its commitment is the root of the tree over
it. PieceCID version 1 is that root alone; version 2 (FRC-0069) holds the tree's height and the padding too, so that it
says how long the payload is. Source: FRC-0069; the Filecoin specification on pieces; multicodec 0xf101, 0x1011, 0x1012.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipfs_kit_py.core import multihash, varint
from ipfs_kit_py.core.cid import CID, RAW
from ipfs_kit_py.core.errors import InvalidCID
from ipfs_kit_py.storage.remote.filecoin import fr32

if TYPE_CHECKING:
    from typing_extensions import Buffer

FIL_COMMITMENT_UNSEALED = 0xF101  # the codec of a PieceCID version 1
SHA2_256_TRUNC254_PADDED = 0x1012  # its hash function
FR32_SHA256_TRUNC254_PADBINTREE = 0x1011  # the hash function of version 2; the codec is raw
SEGMENT_HEIGHT = 17  # of the sub-tree that one worker makes at a time
SEGMENT_PAYLOAD = fr32.GROUP_PAYLOAD << (SEGMENT_HEIGHT - fr32.GROUP_HEIGHT)  # 4,161,536 bytes: about 50 ms of work


@dataclass(frozen=True)
class Piece:
    """A commitment. ``root`` has 32 bytes, ``height`` is that of the tree over it, ``payload`` counts bytes before any
    padding. Raises ``InvalidCID`` where the three cannot belong together."""

    root: bytes
    height: int
    payload: int

    def __post_init__(self) -> None:
        if len(self.root) != fr32.NODE_BYTES or self.root[-1] > 0x3F:
            raise InvalidCID("a piece's root has 32 bytes, the two top bits of the last one clear")
        if not fr32.GROUP_HEIGHT <= self.height <= fr32.MAX_HEIGHT:
            raise InvalidCID(f"a piece's tree is {fr32.GROUP_HEIGHT} to {fr32.MAX_HEIGHT} high, not {self.height}")
        if not self._least() <= self.payload <= self.capacity:
            raise InvalidCID(f"{self.payload} bytes are no payload of a piece of {self.padded} bytes")

    def _least(self) -> int:
        return 0 if self.height == fr32.GROUP_HEIGHT else self.capacity // 2 + 1

    @property
    def padded(self) -> int:
        """Bytes of the piece after fr32 padding, a power of two: what the chain calls its size."""
        return fr32.NODE_BYTES << self.height

    @property
    def capacity(self) -> int:
        """The longest payload in bytes that a tree of this height takes."""
        return self.padded // fr32.GROUP_BYTES * fr32.GROUP_PAYLOAD

    @property
    def padding(self) -> int:
        """Zeros in bytes after the payload, before fr32 padding."""
        return self.capacity - self.payload

    @property
    def v1(self) -> CID:
        """PieceCID version 1, which tells no size."""
        return CID(1, FIL_COMMITMENT_UNSEALED, multihash.wrap(SHA2_256_TRUNC254_PADDED, self.root))

    @property
    def v2(self) -> CID:
        """PieceCID version 2."""
        digest = varint.encode(self.padding) + bytes((self.height,)) + self.root
        return CID(1, RAW, multihash.wrap(FR32_SHA256_TRUNC254_PADBINTREE, digest))

    @classmethod
    def from_v1(cls, cid: CID | str, payload: int) -> Piece:
        """The piece of a version 1 CID and the bytes of its payload. ``InvalidCID`` where it is none."""
        parsed = CID.parse(cid)
        code, digest = multihash.split(parsed.multihash)
        if parsed.codec != FIL_COMMITMENT_UNSEALED or code != SHA2_256_TRUNC254_PADDED:
            raise InvalidCID(f"{parsed} is no PieceCID of version 1")
        if payload < 0:
            raise InvalidCID(f"a payload has at least 0 bytes, not {payload}")
        return cls(digest, height_for(payload), payload)

    @classmethod
    def from_v2(cls, cid: CID | str) -> Piece:
        """The piece that a version 2 CID names. ``InvalidCID`` where it is none, or its padding cannot be."""
        parsed = CID.parse(cid)
        code, digest = multihash.split(parsed.multihash)
        if parsed.codec != RAW or code != FR32_SHA256_TRUNC254_PADBINTREE:
            raise InvalidCID(f"{parsed} is no PieceCID of version 2")
        try:
            padding, at = varint.decode(digest)
        except (IndexError, ValueError) as error:
            raise InvalidCID(f"PieceCID {parsed}: {error}") from None
        if len(digest) != at + 1 + fr32.NODE_BYTES:
            raise InvalidCID(f"PieceCID {parsed}: its digest has {len(digest)} bytes")
        height = min(digest[at], fr32.MAX_HEIGHT + 1)
        capacity = (fr32.GROUP_PAYLOAD << height) >> fr32.GROUP_HEIGHT
        return cls(digest[at + 1 :], height, capacity - padding)

    def __str__(self) -> str:
        return str(self.v2)


def height_for(payload: int) -> int:
    """The height of the smallest tree that takes ``payload`` bytes."""
    groups = max(1, -(-payload // fr32.GROUP_PAYLOAD))
    return fr32.GROUP_HEIGHT + (groups - 1).bit_length()


class Commp:
    """A commitment in the making: ``update`` takes the payload in pieces of any length, ``piece`` gives the result so
    far. Memory stays under 64 KiB. Some 75 MB/s on one core. ``ValueError`` beyond 64 GiB."""

    def __init__(self) -> None:
        self.payload = 0  # bytes taken
        self._tree = fr32.Tree(fr32.BATCH_HEIGHT)
        self._rest = bytearray()

    def update(self, data: Buffer) -> None:
        """The next bytes of the payload."""
        view = memoryview(data).cast("B")
        check_payload(self.payload + view.nbytes)
        self.payload += view.nbytes
        at = 0
        if self._rest:
            at = min(fr32.BATCH_PAYLOAD - len(self._rest), view.nbytes)
            self._rest += view[:at]
            if len(self._rest) < fr32.BATCH_PAYLOAD:
                return
            self._tree.push(fr32.root_of(self._rest)[0])
            self._rest = bytearray()
        while view.nbytes - at >= fr32.BATCH_PAYLOAD:
            self._tree.push(fr32.root_of(view[at : at + fr32.BATCH_PAYLOAD])[0])
            at += fr32.BATCH_PAYLOAD
        self._rest += view[at:]

    def piece(self) -> Piece:
        """The piece that the payload so far is; more may still be fed."""
        tail = fr32.root_of(self._rest) if self._rest or not self._tree.count else None
        root, height = self._tree.copy().finish(tail)
        return Piece(root, height, self.payload)


class Segments:
    """The tree over whole segments whose roots are made elsewhere, and a shorter last one. Pure bookkeeping."""

    def __init__(self) -> None:
        self._tree = fr32.Tree(SEGMENT_HEIGHT)

    def push(self, root: bytes) -> None:
        """The root of the next segment of ``SEGMENT_PAYLOAD`` bytes."""
        self._tree.push(root)

    def piece(self, last: Buffer) -> Piece:
        """The piece of all segments and the ``last`` bytes, shorter than a segment."""
        size = memoryview(last).nbytes
        tail = fr32.root_of(last) if size or not self._tree.count else None
        payload = self._tree.count * SEGMENT_PAYLOAD + size
        root, height = self._tree.copy().finish(tail)
        return Piece(root, height, payload)


def check_payload(size: int) -> None:
    """Raise ``ValueError`` where no piece can hold ``size`` bytes."""
    most = fr32.GROUP_PAYLOAD << (fr32.MAX_HEIGHT - fr32.GROUP_HEIGHT)
    if size > most:
        raise ValueError(f"a piece holds at most {most} bytes, not {size}")


def piece_of(payload: Buffer) -> Piece:
    """The piece of a payload in memory."""
    commp = Commp()
    commp.update(payload)
    return commp.piece()
