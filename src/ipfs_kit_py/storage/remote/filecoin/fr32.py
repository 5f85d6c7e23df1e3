"""The tree under a Filecoin piece commitment: fr32 padding and SHA-256 nodes cut to 254 bits, many groups at a time.

Payload of 127 bytes becomes four leaves of 32 bytes with 254 bits each, little endian; a node is the SHA-256 of its two
children with the two top bits of its last byte cleared. One Python operation pads a whole batch: the batch is one long
integer, and whole halves of all its groups move up at once. It imports the standard library alone, so that a worker
process starts fast. Source: the Filecoin specification on pieces (fr32) and on ``sha2-256-trunc254-padded``.
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

NODE_BYTES = 32
GROUP_PAYLOAD = 127  # bytes of payload that become GROUP_BYTES of leaves
GROUP_BYTES = 128
GROUP_HEIGHT = 2  # of the tree over one group: four leaves
BATCH_HEIGHT = 10  # of the tree over one batch; 32 KiB stay in a core's first cache, measured the fastest
MAX_HEIGHT = 31  # of a piece: 64 GiB, the largest sector there is

_GROUPS = 1 << (BATCH_HEIGHT - GROUP_HEIGHT)
BATCH_PAYLOAD = GROUP_PAYLOAD * _GROUPS  # 32,512 bytes
_BATCH_BYTES = GROUP_BYTES * _GROUPS

_CUT_GROUPS = Struct(f"{GROUP_PAYLOAD}s" * _GROUPS)
_CUT_PAIRS = tuple(Struct("64s" * (1 << level)) for level in range(BATCH_HEIGHT))
_CLEAR_TOP = bytes(byte & 0x3F for byte in range(256))


def _repeated(bits: int, size: int) -> int:
    """A number of ``bits`` bits, once in every ``size`` bytes of a batch."""
    return int.from_bytes(((1 << bits) - 1).to_bytes(size, "little") * (_BATCH_BYTES // size), "little")


_LOW_HALF = _repeated(508, 128)
_HIGH_HALF = _LOW_HALF << 508  # of the 1,016 bits of payload in a group; they move up by four
_LOW_QUARTER = _repeated(254, 64)
_HIGH_QUARTER = _LOW_QUARTER << 254  # of the 508 bits now in each half; they move up by two


def _pad(payload: Buffer) -> bytes:
    """The leaves of one batch of payload."""
    bits = int.from_bytes(b"\0".join(_CUT_GROUPS.unpack(payload)), "little")
    bits = bits & _LOW_HALF | (bits & _HIGH_HALF) << 4
    bits = bits & _LOW_QUARTER | (bits & _HIGH_QUARTER) << 2
    return bits.to_bytes(_BATCH_BYTES, "little")


def _climb(nodes: Buffer, height: int) -> bytes:
    """The root over ``2**height`` nodes."""
    row: Buffer = nodes
    for level in range(height - 1, -1, -1):
        above = bytearray(b"".join([node.digest() for node in map(sha256, _CUT_PAIRS[level].unpack(row))]))
        above[NODE_BYTES - 1 :: NODE_BYTES] = above[NODE_BYTES - 1 :: NODE_BYTES].translate(_CLEAR_TOP)
        row = above
    return bytes(row)


def join(left: bytes, right: bytes) -> bytes:
    """The node above two nodes."""
    digest = sha256(left + right).digest()
    return digest[:-1] + _CLEAR_TOP[digest[-1] : digest[-1] + 1]


def _zero_roots() -> tuple[bytes, ...]:
    roots = [bytes(NODE_BYTES)]
    for _level in range(MAX_HEIGHT):
        roots.append(join(roots[-1], roots[-1]))
    return tuple(roots)


ZERO_ROOTS = _zero_roots()  # of trees over nothing but zeros, by height


class Tree:
    """Roots of equal sub-trees come in from left to right; ``finish`` gives the root over them. Constant memory."""

    def __init__(self, base: int) -> None:
        self.base = base  # height of the sub-trees
        self.count = 0
        self._open: list[bytes | None] = []  # per height above the base, a root that waits for its right sibling

    def push(self, root: bytes) -> None:
        """The next sub-tree's root."""
        self.count += 1
        for level, left in enumerate(self._open):
            if left is None:
                self._open[level] = root
                return
            self._open[level] = None
            root = join(left, root)
        self._open.append(root)

    def copy(self) -> Tree:
        """One that goes its own way from here."""
        other = Tree(self.base)
        other.count = self.count
        other._open = list(self._open)
        return other

    def finish(self, tail: tuple[bytes, int] | None = None) -> tuple[bytes, int]:
        """Root and height over all that was pushed, zeros beyond it. ``tail``: root and height of a smaller tree that
        comes last; alone, it is the whole."""
        if tail is not None:
            if not self.count:
                return tail
            self.push(extended(*tail, self.base))
        root: bytes | None = None
        for level, left in enumerate(self._open):
            if root is not None:
                root = join(left or root, root if left else ZERO_ROOTS[self.base + level])
            elif left is not None:
                root = left if level == len(self._open) - 1 else join(left, ZERO_ROOTS[self.base + level])
        if root is None:
            raise ValueError("a tree over nothing has no root")
        return root, self.base + max(0, (self.count - 1).bit_length())


def extended(root: bytes, height: int, target: int) -> bytes:
    """The root of a tree made higher by zeros on its right."""
    for level in range(height, target):
        root = join(root, ZERO_ROOTS[level])
    return root


def _tail(payload: Buffer) -> tuple[bytes, int]:
    """Root and height over less than a batch."""
    view = memoryview(payload).cast("B")
    groups = max(1, -(-view.nbytes // GROUP_PAYLOAD))
    height = GROUP_HEIGHT + (groups - 1).bit_length()
    leaves = memoryview(_pad(bytes(view).ljust(BATCH_PAYLOAD, b"\0")))
    return _climb(leaves[: NODE_BYTES << height], height), height


def root_of(payload: Buffer) -> tuple[bytes, int]:
    """Root and height over ``payload`` that is in memory, padded with zeros to 127 times a power of two."""
    view = memoryview(payload).cast("B")
    tree = Tree(BATCH_HEIGHT)
    whole = view.nbytes - view.nbytes % BATCH_PAYLOAD
    for at in range(0, whole, BATCH_PAYLOAD):
        tree.push(_climb(_pad(view[at : at + BATCH_PAYLOAD]), BATCH_HEIGHT))
    rest = view[whole:]
    return tree.finish(_tail(rest) if rest.nbytes or not whole else None)
