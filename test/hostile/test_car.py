"""What a hostile archive can do to its reader: lengths, headers and hashes that lie, and ends that come early."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core import varint
from ipfs_kit_py.core.cid import CID, DAG_PB, RAW, Block
from ipfs_kit_py.core.config import MAX_CAR_HEADER_BYTES, MAX_CAR_ROOTS, MAX_CAR_SECTION_BYTES, MIB
from ipfs_kit_py.core.errors import InvalidBlock
from ipfs_kit_py.core.multihash import IDENTITY, wrap
from ipfs_kit_py.dag import car, dag_cbor
from ipfs_kit_py.dag.car import CarReader, read_car

BLOCKS = [Block(CID.of(content), content) for content in (b"one", b"", b"three" * 50)]
PRAGMA = bytes.fromhex("0aa16776657273696f6e02")


def sections(blocks: list[Block]) -> bytes:
    return b"".join(bytes(part) for block in blocks for part in car.section(*block))


V1 = car.header([BLOCKS[0].cid]) + sections(BLOCKS)


def section(body: bytes) -> bytes:
    return varint.encode(len(body)) + body


def v2(inner: bytes = V1, *, start: int = 51, size: int | None = None, index: bytes = b"", padding: int = 0) -> bytes:
    """Version 2 around an archive; every field as its maker likes."""
    after = start + (len(inner) if size is None else size)
    fields = bytes(16) + b"".join(
        number.to_bytes(8, "little") for number in (start, len(inner) if size is None else size, after if index else 0)
    )
    return PRAGMA + fields + bytes(padding) + inner + index


def named(value: object) -> bytes:
    """An archive of no blocks with this header."""
    return section(dag_cbor.encode(value))


def feed_bytewise(reader: CarReader, raw: bytes) -> None:
    for at in range(len(raw)):
        reader.feed(raw[at : at + 1])


def test_both_versions_read_whole_with_padding_and_whatever_index() -> None:
    for raw in (V1, v2(), v2(start=1051, padding=1000), v2(index=b"garbage" * 99), v2(index=b"\xff")):
        archive = read_car(raw)
        assert (archive.header.roots, archive.blocks) == ([BLOCKS[0].cid], BLOCKS)


@pytest.mark.parametrize("raw", [V1, v2(), v2(start=60, padding=9)])
def test_an_archive_cut_anywhere_is_refused_or_ends_between_sections(raw: bytes) -> None:
    starts = {len(raw) - len(sections(BLOCKS[at:])) for at in range(3)} if raw is V1 else set()
    for end in range(len(raw)):
        reader = CarReader()
        found = reader.feed(raw[:end])
        assert found == BLOCKS[: len(found)]
        if end in starts:
            assert reader.close().roots == [BLOCKS[0].cid]
        else:
            with pytest.raises(InvalidBlock, match="cut short"):
                reader.close()


@given(st.integers(0, len(V1) - 1), st.integers(1, 255), st.integers(1, 99))
def test_any_changed_byte_is_refused_or_leaves_only_true_blocks(at: int, change: int, step: int) -> None:
    raw = bytearray(V1)
    raw[at] ^= change
    reader, found = CarReader(), []
    try:
        for start in range(0, len(raw), step):
            found += reader.feed(raw[start : start + step])
        reader.close()
    except InvalidBlock:
        pass
    assert all(cid.verify(data) for cid, data in found)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"\x00", "no bytes"),
        (b"\x80\x00", "not minimal"),
        (b"\xff" * 9, "longer than"),
        (varint.encode(MAX_CAR_HEADER_BYTES + 1), "the limit"),
        (varint.encode((1 << 63) - 1), "the limit"),
        (section(b"\xff"), "no dag-cbor"),
        (section(b"\xa1"), "no dag-cbor"),
        (named([1]), "no map"),
        (named({}), "version None"),
        (named({"version": 0}), "version 0"),
        (named({"version": 3}), "version 3"),
        (named({"version": -1, "roots": []}), "version -1"),
        (named({"version": True, "roots": []}), "version True"),
        (named({"version": 1.0, "roots": []}), "version 1.0"),
        (named({"version": "1", "roots": []}), "version '1'"),
        (named({"version": 1}), "names no roots"),
        (named({"version": 1, "roots": 5}), "names no roots"),
        (named({"version": 1, "roots": [b"x"]}), "names no roots"),
        (named({"version": 1, "roots": [BLOCKS[0].cid] * (MAX_CAR_ROOTS + 1)}), "roots"),
        (named({"version": 2, "roots": []}), "does not begin as version 2"),
        (V1 + b"\x00", "no bytes"),
        (V1 + section(b"\x01"), "without a CID"),
        (V1 + section(BLOCKS[0].cid.raw[:-1]), "without a CID"),
        (V1 + section(CID(1, RAW, wrap(0x99, bytes(32))).raw + b"x"), "hash function 0x99"),
        (V1 + section(CID(1, RAW, wrap(IDENTITY, bytes(129))).raw + bytes(129)), "at most 128"),
        (V1 + section(BLOCKS[0].cid.raw + b"two"), "another hash"),
        (V1 + section(CID(1, RAW, wrap(IDENTITY, b"abc")).raw + b"abd"), "another hash"),
        (V1 + varint.encode(MAX_CAR_SECTION_BYTES + 1), "the limit"),
        (V1 + b"\xff" * 9, "longer than"),
        (v2(start=50), "at 50"),
        (v2(start=0), "at 0"),
        (v2(size=0), "0 bytes"),
        (v2(size=1 << 63), "bytes at 51"),
        (v2(size=len(V1) - 1), "beyond the inner"),
        (v2(size=3), "beyond the inner"),
        (v2(PRAGMA), "not version 1"),
        (v2(named({"version": True, "roots": []})), "not version 1"),
        (v2(b"\x00" + V1), "no bytes"),
    ],
)
def test_what_is_no_archive_is_refused_as_soon_as_it_is_seen(raw: bytes, why: str) -> None:
    whole, piecewise = CarReader(), CarReader()
    with pytest.raises(InvalidBlock, match=rf"CAR: .*{why}.* \(at byte \d+\)"):
        whole.feed(raw)
    with pytest.raises(InvalidBlock, match=why):
        feed_bytewise(piecewise, raw)
    for reader in (whole, piecewise):  # and it stays refused
        with pytest.raises(InvalidBlock, match=why):
            reader.feed(b"\x01")
        with pytest.raises(InvalidBlock, match=why):
            reader.close()


@pytest.mark.parametrize(
    "raw", [v2(size=len(V1) + 1), v2(start=1 << 62), v2(start=(1 << 64) - 1), V1 + varint.encode(MIB)]
)
def test_what_is_promised_and_does_not_come_is_an_early_end(raw: bytes) -> None:
    reader = CarReader()
    reader.feed(raw)
    with pytest.raises(InvalidBlock, match="cut short"):
        reader.close()


def test_nothing_is_allocated_from_a_length() -> None:
    tracemalloc.start()
    try:
        for _ in range(100):
            CarReader().feed(V1 + varint.encode(MAX_CAR_SECTION_BYTES) + b"x")
            CarReader().feed(varint.encode(MAX_CAR_HEADER_BYTES) + b"\x9a\xff\xff\xff\xff")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MIB


def test_a_header_of_old_writers_and_blocks_of_both_versions_are_read() -> None:
    root = CID.of(b"\x0a\x00", DAG_PB, version=0)
    swapped = b"\xa2\x67version\x01\x65roots\x81" + dag_cbor.encode(root)  # keys in another order
    archive = read_car(section(swapped) + sections([Block(root, b"\x0a\x00"), Block(root.to_v1(), b"\x0a\x00")]))
    assert [block.cid for block in archive.blocks] == [root, root.to_v1()]
