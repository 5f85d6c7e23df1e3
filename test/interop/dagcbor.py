"""An encoder of dag-cbor for the tests, so that what is compared with a node does not come from it.

Source: ipld.io/specs/codecs/dag-cbor/spec: definite lengths, shortest integers, keys by length and then by bytes.
"""

from __future__ import annotations

import struct

from ipfs_kit_py.core.cid import CID, DAG_CBOR, RAW


def _head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes((major << 5 | value,))
    for extra, (size, form) in enumerate(((1, "B"), (2, ">H"), (4, ">I"), (8, ">Q")), 24):
        if value < 1 << 8 * size:
            return bytes((major << 5 | extra,)) + struct.pack(form, value)
    raise OverflowError(value)


def encode(value: object) -> bytes:
    """The one encoding of a value made of dict, list, str, bytes, int, bool, float, ``None`` and ``CID``."""
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", False: b"\xf4", True: b"\xf5"}[value]
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return _head(4, len(value)) + b"".join(map(encode, value))
    if isinstance(value, CID):
        return b"\xd8\x2a" + encode(b"\x00" + value.raw)
    assert isinstance(value, dict)
    items = sorted((name.encode(), item) for name, item in value.items())
    items.sort(key=lambda item: len(item[0]))
    return _head(5, len(items)) + b"".join(_head(3, len(name)) + name + encode(item) for name, item in items)


class Graph:
    """Linked dag-cbor values with raw leaves: a root, ten branches, ten raw blocks below each, and shared children."""

    def __init__(self, seed: str) -> None:
        self.blocks: dict[CID, bytes] = {}
        self.values: dict[CID, object] = {}
        shared = self._put(
            {"shared": seed, "numbers": [0, 23, 24, 255, 256, 65535, 65536, 1 << 40, -1, -25, -(1 << 33)]}
        )
        branches: list[object] = []
        for number in range(10):
            leaves: list[object] = [self._raw(f"{seed} {number} {leaf}".encode() * 40) for leaf in range(10)]
            value = {"leaves": leaves, "shared": shared, "empty": {}, "bytes": bytes(range(256)), "half": number / 2}
            branches.append(self._put(value))
        self.root = self._put({"branches": branches, "none": None, "yes": True, "ünïcode": seed, "aa": [], "b": [[]]})

    def _raw(self, data: bytes) -> CID:
        cid = CID.of(data, RAW)
        self.blocks[cid] = data
        return cid

    def _put(self, value: object) -> CID:
        data = encode(value)
        cid = CID.of(data, DAG_CBOR)
        self.blocks[cid] = data
        self.values[cid] = value
        return cid
