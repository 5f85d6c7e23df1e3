"""Sharded directories: the hash, the shape, canonical whatever the order; looking up and listing."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import HAMT_AHEAD_CHILDREN, HAMT_AHEAD_SHARD_BYTES, MIB
from ipfs_kit_py.dag import dag_pb, unixfs
from ipfs_kit_py.dag.directory import DirectoryBuilder
from ipfs_kit_py.dag.hamt import build_hamt, decode_shard, index_names, index_of, lookup, name_bytes, name_hash
from ipfs_kit_py.dag.hamt_list import ENTRY_BYTES, HamtEntries
from ipfs_kit_py.dag.profiles import V1_2025, Built, Profile, Stat

if TYPE_CHECKING:
    from collections.abc import Iterable

X = CID.of(b"x")
FANOUTS = [8, 16, 32, 64, 128, 256, 512, 1024]
NAMES = st.one_of(
    st.text(min_size=1, max_size=12), st.binary(min_size=1).map(lambda raw: raw.decode(errors="surrogateescape"))
)


def link(name: str, tsize: int = 1) -> dag_pb.PBLink:
    return dag_pb.PBLink(X, name, tsize)


def build(names: Iterable[str], profile: Profile = V1_2025) -> tuple[Built, dict[CID, bytes]]:
    built = build_hamt([link(name) for name in names], profile, Stat())
    return built, {block.cid: bytes(block.data) for block in built.blocks}


def find(blocks: dict[CID, bytes], root: CID, name: str) -> dag_pb.PBLink | None:
    plan = lookup(root, name)
    try:
        cid = next(plan)
        while True:
            cid = plan.send(blocks[cid])
    except StopIteration as end:
        found: dag_pb.PBLink | None = end.value
        return found


def listing(blocks: dict[CID, bytes], root: CID, chance: random.Random, budget: int = MIB) -> list[dag_pb.PBLink]:
    """All entries, the shards fed in any order."""
    plan = HamtEntries(root)
    out: list[dag_pb.PBLink] = []
    waiting: list[CID] = []
    while not plan.done:
        waiting += [cid for cid, _ in plan.wanted(budget)]
        while (links := plan.pop()) is not None:
            out += links
        if waiting:
            cid = waiting.pop(chance.randrange(len(waiting)))
            plan.feed(cid, blocks[cid])
        if chance.random() < 0.5:
            while (links := plan.pop()) is not None:
                out += links
    assert waiting == []
    return out


def test_the_hash_is_murmur3_x64_its_first_half() -> None:
    assert name_hash(b"") == 0
    assert name_hash(b"hello").to_bytes(8, "big").hex() == "cbd8a7b341bd9b02"
    assert [index_of(0x123456789ABCDEF0, bits, 8) for bits in range(0, 64, 8)] == list(
        bytes.fromhex("123456789abcdef0")
    )
    assert [index_of(0xFFC0_0000_0000_0000, bits, 5) for bits in (0, 5, 10)] == [31, 31, 0]


def test_prefixes_are_upper_case_and_of_one_length() -> None:
    assert index_names(256)[10] == "0A"
    assert index_names(16)[10] == "A"
    assert index_names(8)[7] == "7"
    assert index_names(1024)[1023] == "3FF"


@pytest.mark.parametrize("fanout", FANOUTS)
@given(st.sets(NAMES, max_size=60), st.randoms())
def test_any_order_gives_one_trie_that_finds_and_lists_all(fanout: int, names: set[str], chance: random.Random) -> None:
    profile = V1_2025.replace(hamt_fanout=fanout)
    ordered = sorted(names)
    built, blocks = build(ordered, profile)
    chance.shuffle(ordered)
    assert build(ordered, profile)[0] == built
    assert all(find(blocks, built.cid, name) == link(name) for name in names)
    assert find(blocks, built.cid, "no such name, surely") is None
    found = listing(blocks, built.cid, chance, chance.choice([0, MIB]))
    assert found == sorted(map(link, names), key=lambda entry: name_hash(name_bytes(entry.name or "")))
    assert built.tsize == sum(map(len, blocks.values())) + len(names)


@given(st.sets(NAMES, min_size=1, max_size=80))
def test_every_entry_is_as_high_up_as_it_is_alone(names: set[str]) -> None:
    built, blocks = build(names, V1_2025.replace(hamt_fanout=8))

    def walk(cid: CID, above: str) -> list[tuple[str, str]]:
        rows = []
        for entry in dag_pb.decode(blocks[cid]).links:
            name = entry.name or ""
            rows += [(above + name[0], name[1:])] if len(name) > 1 else walk(entry.cid, above + name)
        assert len(rows) > 1 or cid == built.cid
        return rows

    octal = {name: f"{name_hash(name_bytes(name)) >> 1:021o}" for name in names}
    for path, name in walk(built.cid, ""):
        assert octal[name].startswith(path)
        assert [other for other in names if octal[other].startswith(path)] == [name]
        shorter = path[:-1]
        assert not shorter or sum(octal[other].startswith(shorter) for other in names) > 1


def test_the_bytes_of_a_shard() -> None:
    built, blocks = build(["hello", "a"], V1_2025)
    node = dag_pb.decode(blocks[built.cid])
    first, second = sorted([("hello", name_hash(b"hello") >> 56), ("a", name_hash(b"a") >> 56)], key=lambda row: row[1])
    assert [entry.name for entry in node.links] == [f"{index:02X}{name}" for name, index in (first, second)]
    bits = 1 << first[1] | 1 << second[1]
    field = bits.to_bytes(second[1] // 8 + 1, "big")  # leading zero bytes are cut off
    assert node.data == b"\x08\x05\x12" + bytes([len(field)]) + field + b"\x28\x22\x30\x80\x02"


def test_a_full_shard_and_deep_ones() -> None:
    names: dict[int, str] = {}
    for number in itertools.count():
        names.setdefault(name_hash(b"%d" % number) >> 56, str(number))
        if len(names) == 256:
            break
    built, blocks = build(names.values())
    assert len(blocks) == 1
    shard = decode_shard(built.cid, blocks[built.cid])
    assert [slot.position for slot in shard.slots] == list(range(256))
    twins = {name_hash(b"%d" % number) >> 40: str(number) for number in range(20_000)}
    pair = next(
        (twins[key], str(number))
        for number in range(20_000)
        if twins[key := name_hash(b"%d" % number) >> 40] != str(number)
    )
    built, blocks = build(pair)
    assert len(blocks) == 4  # three shards of one child each above the one that tells them apart
    assert listing(blocks, built.cid, random.Random(1)) == sorted(
        map(link, pair), key=lambda entry: name_hash(name_bytes(entry.name or ""))
    )


def test_mode_and_time_are_on_the_root() -> None:
    built = build_hamt(map(link, map(str, range(600))), V1_2025, Stat(0o711, (5, 6)))
    heads = [unixfs.decode(dag_pb.decode(block.data).data or b"") for block in built.blocks]
    assert [(head.mode, head.mtime) for head in heads if head.mode is not None] == [(0o711, (5, 6))]
    assert decode_shard(built.cid, built.blocks[-1].data).stat == (0o711, (5, 6))


def test_many_shards_are_asked_for_at_once() -> None:
    builder = DirectoryBuilder(V1_2025)
    for number in range(30_000):
        builder.add(f"{number}.txt", X, 1)
    built = builder.finish()
    blocks = {block.cid: bytes(block.data) for block in built.blocks}
    plan = HamtEntries(built.cid)
    rounds = entries = 0
    while not plan.done:
        rounds += 1
        wanted = plan.wanted(32 * MIB)
        assert len(wanted) <= HAMT_AHEAD_CHILDREN // 256
        for cid, size in reversed(wanted):
            assert size == HAMT_AHEAD_SHARD_BYTES
            plan.feed(cid, blocks[cid])
        while (links := plan.pop()) is not None:
            entries += len(links)
    assert entries == 30_000
    assert rounds <= len(blocks) // (HAMT_AHEAD_CHILDREN // 256) + 3


def test_a_small_budget_asks_for_one_shard_at_a_time() -> None:
    built, blocks = build(map(str, range(2000)))
    plan = HamtEntries(built.cid)
    while not plan.done:
        wanted = plan.wanted(0)
        assert len(wanted) <= 1
        for cid, _ in wanted:
            assert plan.wanted(0) == []
            plan.feed(cid, blocks[cid])
            plan.feed(cid, b"fed twice is ignored")
        plan.pop()


def test_held_entries_count_against_the_budget() -> None:
    built, blocks = build(map(str, range(2000)))
    plan = HamtEntries(built.cid)
    [(root, _)] = plan.wanted(MIB)
    plan.feed(root, blocks[root])

    def weight(cid: CID) -> int:
        return len(blocks[cid]) + ENTRY_BYTES * sum(bool(link.name) for _, link in decode_shard(cid, blocks[cid]).slots)

    held = weight(root)  # its last entries wait for the shards before them
    asked = [cid for cid, _ in plan.wanted(held + 3 * HAMT_AHEAD_SHARD_BYTES)]
    assert len(asked) == 3
    for cid in asked[1:]:
        plan.feed(cid, blocks[cid])
        held += weight(cid)
    assert len(plan.wanted(held + HAMT_AHEAD_SHARD_BYTES)) == 0
    assert len(plan.wanted(held + 2 * HAMT_AHEAD_SHARD_BYTES)) == 1


def test_a_lookup_does_not_ask_for_a_root_that_is_here() -> None:
    names = [str(number) for number in range(600)]
    built, blocks = build(names)
    direct = next(slot.link.name for slot in decode_shard(built.cid, blocks[built.cid]).slots if slot.link.name)
    with pytest.raises(StopIteration) as end:
        next(lookup(built.cid, direct, blocks[built.cid]))
    assert end.value.value == link(direct)
