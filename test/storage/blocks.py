"""Blocks that a number stands for, so that two processes agree on them."""

from __future__ import annotations

import hashlib

from ipfs_kit_py.core.cid import CID, RAW, Block


def block(number: int, size: int) -> Block:
    """The same block for the same number and size, different for others, its hash right."""
    seed = hashlib.sha256(b"%d %d" % (number, size)).digest()
    data = (seed * (size // 32 + 1))[:size]
    return Block(CID.of(data), data)


def false_block(number: int, data: bytes) -> Block:
    """Quickly made: the key says nothing of the data. Its hash function is one that no store can verify, so that such
    blocks are read all the same."""
    return Block(CID(1, RAW, b"\x92\x20\x20" + hashlib.sha256(b"%d" % number).digest()), data)
