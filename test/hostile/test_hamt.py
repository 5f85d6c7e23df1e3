"""What a hostile sharded directory can do to its reader, and hostile names to its writer."""

from __future__ import annotations

import contextlib
import itertools
import random
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import CID, DAG_CBOR, DAG_PB
from ipfs_kit_py.core.config import MIB
from ipfs_kit_py.core.errors import InvalidBlock, InvalidName
from ipfs_kit_py.dag import dag_pb, hamt_list, unixfs
from ipfs_kit_py.dag.directory import DirectoryBuilder
from ipfs_kit_py.dag.edit import edit_directory
from ipfs_kit_py.dag.hamt import build_hamt, decode_shard, index_names, lookup, name_bytes, name_hash
from ipfs_kit_py.dag.hamt_list import HamtEntries
from ipfs_kit_py.dag.profiles import V1_2025, Stat

if TYPE_CHECKING:
    from collections.abc import Sequence

X = CID.of(b"x")


def shard(
    links: Sequence[tuple[str, CID]],
    field: bytes | None = None,
    *,
    fanout: int | None = 256,
    hash_type: int | None = 0x22,
    kind: int = unixfs.HAMT_SHARD,
) -> tuple[CID, bytes]:
    """A shard as its maker likes; the bitfield fits the links where none is given."""
    if field is None:
        bits = sum({1 << int(name[: len(f"{(fanout or 16) - 1:X}")], 16) for name, _ in links})
        field = bits.to_bytes((bits.bit_length() + 7) // 8, "big")
    head = unixfs.FSNode(type=kind, data=field, hash_type=hash_type, fanout=fanout)
    data = dag_pb.encode(dag_pb.PBNode([dag_pb.PBLink(cid, name, 1) for name, cid in links], unixfs.encode(head)))
    return CID.of(data, DAG_PB), data


def entry(number: int) -> tuple[str, CID]:
    """An entry where it belongs in a root shard of fanout 256."""
    return f"{name_hash(b'%d' % number) >> 56:02X}{number}", X


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (shard([entry(1)], fanout=0), "fanout of 0"),
        (shard([entry(1)], fanout=None), "fanout of 0"),
        (shard([entry(1)], fanout=4), "fanout of 4"),
        (shard([entry(1)], fanout=100), "fanout of 100"),
        (shard([entry(1)], fanout=2048), "fanout of 2048"),
        (shard([entry(1)], fanout=1 << 62), "fanout"),
        (shard([entry(1)], hash_type=0x12), "hash function 18"),
        (shard([entry(1)], hash_type=None), "hash function None"),
        (shard([entry(1)], kind=unixfs.DIRECTORY), "type is not HAMTShard"),
        (shard([entry(1)], b"\x01" + bytes(32)), "bitfield of 33 bytes"),
        (shard([entry(1)], b""), "0 bits set and it has 1 links"),
        (shard([entry(1)], b"\xff" * 32), "256 bits set"),
        (shard([entry(1)], b"\x01"), "does not belong to bit 0"),
        (shard([("0", X)], b"\x01"), "does not belong"),
        (shard([("", X)], b"\x01"), "does not belong"),
        (shard([("0afile", X)], bytes([4, 0])), "does not belong"),
        (shard([("00a", X), ("00b", X)], b"\x03"), "does not belong to bit 1"),
    ],
)  # fmt: skip
def test_a_shard_that_could_lead_a_reader_astray_is_refused_by_name(made: tuple[CID, bytes], why: str) -> None:
    cid, data = made
    with pytest.raises(InvalidBlock, match=why) as caught:
        decode_shard(cid, data)
    assert str(cid) in str(caught.value)


def test_other_blocks_are_no_shards() -> None:
    no_data = dag_pb.encode(dag_pb.PBNode([], None))
    for cid, data in (
        (CID.of(b"x"), b"x"),
        (CID.of(b"\xa0", DAG_CBOR), b"\xa0"),
        (CID.of(no_data, DAG_PB), no_data),
        (CID.of(b"\xff", DAG_PB), b"\xff"),
    ):
        with pytest.raises(InvalidBlock, match=str(cid)):
            decode_shard(cid, data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_shard_or_an_invalid_block(data: bytes) -> None:
    with contextlib.suppress(InvalidBlock):
        decode_shard(CID.of(data, DAG_PB), data)


@given(st.integers(0, 400), st.integers(0, 255))
def test_any_changed_byte_is_read_or_refused(at: int, value: int) -> None:
    cid, data = shard([entry(number) for number in (1, 2, 3, 4)])
    changed = bytearray(data)
    changed[at % len(data)] = value
    plan = HamtEntries(cid)
    plan.wanted(MIB)
    with contextlib.suppress(InvalidBlock):
        plan.feed(cid, bytes(changed))


def test_a_child_keeps_to_the_root_s_fanout_and_is_not_empty() -> None:
    child = shard([("0x", X)], fanout=16)
    empty = shard([])
    for below, why in ((child, "fanout of 16"), (empty, "empty")):
        root = shard([("00", below[0])])
        plan = HamtEntries(root[0])
        plan.wanted(MIB)
        plan.feed(*root)
        plan.wanted(MIB)
        with pytest.raises(InvalidBlock, match=why) as caught:
            plan.feed(*below)
        assert str(below[0]) in str(caught.value)


def test_an_entry_in_the_wrong_place_is_refused_where_it_is_listed() -> None:
    name = next(str(number) for number in itertools.count() if name_hash(b"%d" % number) >> 56 != 0)
    cid, data = shard([(f"00{name}", X)])
    plan = HamtEntries(cid)
    plan.wanted(MIB)
    with pytest.raises(InvalidBlock, match="belong there, or"):
        plan.feed(cid, data)


def chain(depth: int, fanout: int) -> tuple[CID, dict[CID, bytes]]:
    """Shards one below another, each the only child, at index 0."""
    prefix = index_names(fanout)[0]
    cid, data = shard([(f"{prefix}x", X)], fanout=fanout)
    blocks = {cid: data}
    for _ in range(depth - 1):
        cid, data = shard([(prefix, cid)], fanout=fanout)
        blocks[cid] = data
    return cid, blocks


@pytest.mark.parametrize(("fanout", "deepest"), [(8, 21), (256, 8), (1024, 6)])
def test_a_chain_of_shards_ends_where_the_hash_does(fanout: int, deepest: int) -> None:
    # A name whose hash is 0 leads down the chain for ever.
    root, blocks = chain(deepest + 1, fanout)
    plan = lookup(root, "")
    read = []

    def go_down() -> None:
        cid = next(plan)
        while True:
            read.append(cid)
            cid = plan.send(blocks[cid])

    with pytest.raises(InvalidBlock, match="deeper than the hash"):
        go_down()
    assert len(read) == deepest + 1
    entries = HamtEntries(root)

    def list_all() -> None:
        while not entries.done:
            for cid, _ in entries.wanted(MIB):
                entries.feed(cid, blocks[cid])

    with pytest.raises(InvalidBlock, match="deeper than the hash"):
        list_all()


def test_one_shard_in_many_places_is_found_out_at_once() -> None:
    # Eight blocks that stand for 256 ** 8 entries.
    cid, data = shard([entry(1)])
    blocks = {cid: data}
    for _ in range(7):
        cid, data = shard([(name, cid) for name in index_names(256)])
        blocks[cid] = data
    plan = HamtEntries(cid)
    plan.wanted(32 * MIB)
    plan.feed(cid, blocks[cid])
    with pytest.raises(InvalidBlock, match="two places"):
        plan.wanted(32 * MIB)


def test_one_shard_in_many_places_is_found_out_where_one_is_asked_for_at_a_time() -> None:
    belongs = next(number for number in itertools.count() if name_hash(b"%d" % number) >> 48 == 0)
    leaf, leaf_data = shard([(f"00{belongs}", X)])
    root, root_data = shard([(name, leaf) for name in index_names(256)])
    plan = HamtEntries(root)
    plan.wanted(0)
    plan.feed(root, root_data)
    plan.wanted(0)
    plan.feed(leaf, leaf_data)
    assert plan.pop() == [dag_pb.PBLink(X, str(belongs), 1)]
    plan.wanted(0)
    with pytest.raises(InvalidBlock, match="belong there, or"):
        plan.feed(leaf, leaf_data)


def test_a_trie_of_shards_alone_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hamt_list, "HAMT_AHEAD_CHILDREN", 1024)  # the limits made small, for time
    monkeypatch.setattr(hamt_list, "HAMT_MAX_FRONTIER", 512)
    count = itertools.count()

    def fresh() -> bytes:
        """A shard with 256 shards below it, none of which was seen before, and no entry."""
        return shard([(name, CID.of(b"%d" % next(count), DAG_PB)) for name in index_names(256)])[1]

    plan = HamtEntries(CID.of(b"root", DAG_PB))
    known = 1
    largest = 0

    def read_on() -> None:
        nonlocal known, largest
        while True:
            wanted = plan.wanted(1 << 40)
            assert 1 <= len(wanted) <= 4
            for cid, _ in wanted:
                plan.feed(cid, fresh())
                known += 255
                largest = max(largest, known)

    with pytest.raises(InvalidBlock, match="deeper than the hash"):
        read_on()
    # Four shards at once while few are known, then one on each of the levels below.
    assert largest <= 512 + 1024 + 8 * 256


def test_impossible_sizes_are_not_carried_on() -> None:
    links = [dag_pb.PBLink(X, f"n{number}", (1 << 63) - 1) for number in range(3)]
    for profile in (V1_2025, V1_2025.replace(hamt_threshold=1)):
        builder = DirectoryBuilder(profile)
        for link in links:
            builder.add(link.name or "", link.cid, link.tsize or 0)
        assert builder.finish().tsize == (1 << 63) - 1
    # 2 ** 63 as a Tsize, which no varint of 63 bits holds.
    good = dag_pb.encode(dag_pb.PBNode([dag_pb.PBLink(X, "n", 1)], b"\x08\x01"))
    bad = good.replace(b"\x18\x01", b"\x18" + b"\x80" * 9 + b"\x01").replace(b"\x12\x2b", b"\x12\x34", 1)
    cid = CID.of(bad, DAG_PB)
    plan = edit_directory(cid, V1_2025, put={"a": (X, 1)})
    next(plan)
    with pytest.raises(InvalidBlock, match="cannot be"):
        plan.send(bad)


# --- names with one hash ----------------------------------------------------------------------------------------------

_MASK = (1 << 64) - 1
_C1, _C2 = 0x87C37B91114253D5, 0x4CF5AD432745937F


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> 64 - bits) & _MASK


def _mix(h1: int, h2: int, block: bytes) -> tuple[int, int]:
    k1, k2 = struct.unpack("<QQ", block)
    h1 ^= _rotate(k1 * _C1 & _MASK, 31) * _C2 & _MASK
    h1 = (_rotate(h1, 27) + h2) * 5 + 0x52DCE729 & _MASK
    h2 ^= _rotate(k2 * _C2 & _MASK, 33) * _C1 & _MASK
    return h1, (_rotate(h2, 31) + h1) * 5 + 0x38495AB5 & _MASK


def _unmix(before: tuple[int, int], after: tuple[int, int]) -> bytes:
    """The block that leads from one state of the hash to another."""
    fifth, (h1, h2) = pow(5, -1, 1 << 64), before
    k1 = h1 ^ _rotate(((after[0] - 0x52DCE729) * fifth - h2) & _MASK, 64 - 27)
    k2 = h2 ^ _rotate(((after[1] - 0x38495AB5) * fifth - after[0]) & _MASK, 64 - 31)
    k1 = _rotate(k1 * pow(_C2, -1, 1 << 64) & _MASK, 64 - 31) * pow(_C1, -1, 1 << 64) & _MASK
    k2 = _rotate(k2 * pow(_C1, -1, 1 << 64) & _MASK, 64 - 33) * pow(_C2, -1, 1 << 64) & _MASK
    return struct.pack("<QQ", k1, k2)


def twins(count: int) -> list[str]:
    """Names with one hash: a first block as one likes, and the second that leads to the same state."""
    chance = random.Random(1)
    names: list[bytes] = []
    goal = _mix(*_mix(0, 0, b"a" * 16), b"b" * 16)
    while len(names) < count:
        first = chance.randbytes(8).hex().encode()
        name = first + _unmix(_mix(0, 0, first), goal)
        if b"/" not in name and b"\0" not in name:
            names.append(name)
    return [name.decode("utf-8", "surrogateescape") for name in names]


@pytest.mark.parametrize("fanout", [8, 256, 1024])
def test_names_with_one_hash_are_refused_and_do_not_recurse_for_ever(fanout: int) -> None:
    names = twins(20)
    assert len({name_hash(name_bytes(name)) for name in names}) == 1
    links = [dag_pb.PBLink(X, name, 1) for name in names]
    profile = V1_2025.replace(hamt_fanout=fanout, hamt_threshold=1)
    with pytest.raises(InvalidName, match="one hash"):
        build_hamt(links, profile, Stat())
    alone = build_hamt(links[:1], profile, Stat())
    plan = edit_directory(alone.cid, profile, put={names[1]: (X, 1)})
    next(plan)
    with pytest.raises(InvalidName, match="one hash"):
        plan.send(alone.blocks[0].data)


def test_a_plain_directory_takes_names_with_one_hash() -> None:
    builder = DirectoryBuilder(V1_2025)
    for name in twins(3):
        builder.add(name, X, 1)
    assert len(dag_pb.decode(builder.finish().blocks[0].data).links) == 3


def test_a_name_of_another_hash_is_not_found_by_its_place() -> None:
    one, other = twins(2)
    built = build_hamt([dag_pb.PBLink(X, one, 1)], V1_2025, Stat())
    plan = lookup(built.cid, other)
    next(plan)
    with pytest.raises(StopIteration) as end:
        plan.send(built.blocks[0].data)
    assert end.value.value is None
