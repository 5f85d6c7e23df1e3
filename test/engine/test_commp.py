"""Piece commitments: the published vectors, any chunking, and the two CIDs both ways."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.errors import InvalidCID
from ipfs_kit_py.storage.remote.filecoin import fr32
from ipfs_kit_py.storage.remote.filecoin.commp import SEGMENT_PAYLOAD, Commp, Piece, Segments, height_for, piece_of

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "remote" / "vectors" / "commp.json").read_text())


def slow_root(payload: bytes) -> tuple[bytes, int]:
    """The same by the book, one node at a time."""
    groups = 1
    while groups * 127 < len(payload):
        groups *= 2
    payload = payload.ljust(groups * 127, b"\0")
    row = []
    for at in range(0, len(payload), 127):
        bits = int.from_bytes(payload[at : at + 127], "little")
        row += [(bits >> 254 * leaf & (1 << 254) - 1).to_bytes(32, "little") for leaf in range(4)]
    height = 0
    while len(row) > 1:
        above = [sha256(row[at] + row[at + 1]).digest() for at in range(0, len(row), 2)]
        row = [node[:-1] + bytes((node[-1] & 0x3F,)) for node in above]
        height += 1
    return row[0], height


@pytest.mark.parametrize(("byte", "name"), [(0, "zero"), (0xCC, "0xCC")])
def test_published_vectors(byte: int, name: str) -> None:
    assert len(VECTORS[name]) == 18
    for size, padded, text in VECTORS[name]:
        piece = piece_of(bytes((byte,)) * size)
        assert (str(piece.v1), piece.padded, piece.payload) == (text, padded, size)
        assert Piece.from_v1(text, size) == piece
        assert Piece.from_v2(str(piece.v2)) == piece


@pytest.mark.parametrize("row", VECTORS["frc0069"])
def test_frc0069(row: dict[str, Any]) -> None:
    payload = b"".join(bytes((byte,)) * count for byte, count in row["payload"])
    piece = piece_of(payload)
    assert str(piece.v2) == row["v2"]
    assert str(piece.v1) == row.get("v1", str(piece.v1))
    assert (piece.padding, piece.height) == (row["padding"], row["height"])
    assert Piece.from_v2(row["v2"]) == piece
    assert Piece.from_v1(piece.v1, len(payload)) == piece


@pytest.mark.parametrize("row", VECTORS["zero_sectors"])
def test_sectors_of_zeros(row: dict[str, Any]) -> None:
    payload = (row["gib"] << 30) // 128 * 127
    piece = Piece(fr32.ZERO_ROOTS[row["height"]], row["height"], payload)
    assert (str(piece.v1), str(piece.v2)) == (row["v1"], row["v2"])
    assert Piece.from_v2(row["v2"]) == piece
    assert piece.padded == row["gib"] << 30


def test_no_bytes_in_base16() -> None:
    cid = CID.parse("f01559120220004496dae0cc9e265efe5a006e80626a5dc5c409e5d3155c13984caf6c8d5cfd605")
    assert str(cid) == VECTORS["frc0069"][0]["v2"]
    assert Piece.from_v2(cid).payload == 508


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 70_000), st.lists(st.integers(1, 40_000), max_size=8), st.randoms(use_true_random=False))
def test_any_chunking_gives_what_the_book_gives(size: int, cuts: list[int], rng: Any) -> None:
    payload = rng.randbytes(size)
    commp, at = Commp(), 0
    for cut in [*cuts, size]:
        commp.update(memoryview(payload)[at : at + cut])
        at = min(at + cut, size)
    if at < size:
        commp.update(payload[at:])
    piece = commp.piece()
    assert (piece.root, piece.height) == slow_root(payload)
    assert piece.payload == size
    assert Piece.from_v2(piece.v2) == piece


def test_a_result_on_the_way_changes_nothing() -> None:
    payload = bytes(range(256)) * 600
    commp = Commp()
    for at in range(0, len(payload), 10_007):
        commp.update(payload[at : at + 10_007])
        assert commp.piece() == piece_of(payload[: at + 10_007])


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.one_of(st.none(), st.integers(0, 9)))
def test_a_tree_grows_by_zeros_on_its_right(count: int, tail_height: int | None) -> None:
    """Against the same tree with its zeros written out."""
    base = 9
    roots = [sha256(bytes((index,))).digest()[:-1] + b"\x01" for index in range(count)]
    tail = None if tail_height is None else (b"\x07" * 32, tail_height)
    tree = fr32.Tree(base)
    for root in roots:
        tree.push(root)
    found = tree.finish(tail)
    row = roots + ([] if tail is None else [fr32.extended(*tail, base)])
    height = base
    while len(row) > 1:
        row += [fr32.ZERO_ROOTS[height]] * (len(row) % 2)
        row = [fr32.join(row[at], row[at + 1]) for at in range(0, len(row), 2)]
        height += 1
    assert found == (row[0], height)


def test_segments_are_the_same_tree() -> None:
    payload = bytes(3) + bytes(range(251)) * 40_000
    commp = piece_of(payload)
    segments = Segments()
    whole = len(payload) - len(payload) % SEGMENT_PAYLOAD
    assert whole == 2 * SEGMENT_PAYLOAD
    for at in range(0, whole, SEGMENT_PAYLOAD):
        segments.push(fr32.root_of(payload[at : at + SEGMENT_PAYLOAD])[0])
    assert segments.piece(payload[whole:]) == commp
    assert segments.piece(b"") == piece_of(payload[:whole])


@given(st.integers(0, 64 << 30))
def test_the_height_is_the_least_that_fits(size: int) -> None:
    height = height_for(size)
    assert (127 << height) >> 2 >= size or height == 2
    assert height == 2 or (127 << height) >> 3 < size


def _v2(padding: bytes, height: int, root: bytes = b"\x01" * 32) -> CID:
    digest = padding + bytes((height,)) + root
    return CID(1, 0x55, b"\x91\x20" + bytes((len(digest),)) + digest)


@pytest.mark.parametrize(
    "cid",
    [
        _v2(b"\x00", 1),  # lower than a group
        _v2(b"\x00", 32),  # higher than a sector
        _v2(b"\x00", 255),
        _v2(b"\x80\x01", 2),  # more padding than there are bytes
        _v2(b"\x7f", 3),  # as much padding as payload: the tree would be lower
        _v2(b"\x80\x00", 4),  # a varint that is not minimal
        _v2(b"\x80" * 9 + b"\x01", 4),
        _v2(b"\x00", 4, b"\x01" * 31),
        _v2(b"\x00", 4, b"\x01" * 33),
        _v2(b"\x00", 4, b"\x01" * 31 + b"\x40"),  # a bit that every node has clear
        _v2(b"\xff" * 8 + b"\x7f", 31),
        CID(1, 0x70, b"\x91\x20" + _v2(b"\x00", 4).multihash[2:]),
        CID(1, 0x55, b"\x12\x20" + bytes(32)),
        CID(1, 0x55, b"\x91\x20\x00"),
    ],
)
def test_false_piece_cids_are_refused(cid: CID) -> None:
    with pytest.raises(InvalidCID):
        Piece.from_v2(cid)


def test_a_version_1_cid_needs_a_size_that_fits() -> None:
    v1 = piece_of(b"x" * 500).v1
    for size in (-1, (64 << 30) // 128 * 127 + 1):
        with pytest.raises(InvalidCID):
            Piece.from_v1(v1, size)
    with pytest.raises(InvalidCID):
        Piece.from_v1(piece_of(b"x").v2, 1)
    with pytest.raises(InvalidCID):
        Piece.from_v1(CID(1, 0xF101, b"\x92\x20\x1f" + bytes(31)), 127)


def test_no_piece_is_over_64_gib() -> None:
    commp = Commp()
    commp.payload = (64 << 30) // 128 * 127
    with pytest.raises(ValueError, match="at most"):
        commp.update(b"x")
