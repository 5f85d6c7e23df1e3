"""Sharded directories: read a shard, find one name, and build the whole trie from its entries.

An entry lives where the hash of its name leads, ``log2(fanout)`` bits a level from the most significant on, as high up
as it is alone; so the same entries make the same trie in whatever order they came. Source: ipfs/specs src/unixfs.md,
section "HAMTShard"; the hash is the first half of MurmurHash3 x64 128.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import mmh3

from ipfs_kit_py.core.cid import DAG_PB
from ipfs_kit_py.core.errors import InvalidBlock, InvalidName
from ipfs_kit_py.dag import dag_pb, unixfs
from ipfs_kit_py.dag.profiles import Built, Profile, Stat, stored, valid_fanout

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import CID, Block

MURMUR3_X64_64 = 0x22
MAX_TSIZE = (1 << 63) - 1  # what a varint holds; only a made-up size comes near
HASH_BITS = 64  # so a trie of fanout 256 has at most 8 levels, one of fanout 8 has 21


class Slot(NamedTuple):
    """A child of a shard: an entry under its own name, or a shard below, whose name is empty."""

    position: int
    link: dag_pb.PBLink


class Shard(NamedTuple):
    """A decoded shard; ``slots`` in the order of their position."""

    cid: CID
    fanout: int
    slots: list[Slot]
    stat: Stat


class Place(NamedTuple):
    """Where in the trie a shard is: the hash of every name below it begins with the ``bits`` bits of ``prefix``."""

    prefix: int
    bits: int

    def child(self, index: int, width: int) -> Place:
        """The place of the child at ``index`` in a shard that takes ``width`` bits."""
        return Place(self.prefix << width | index, self.bits + width)


ROOT = Place(0, 0)


def name_bytes(name: str) -> bytes:
    """A name as it is on the wire; bytes that are no UTF-8 come and go as surrogate escapes."""
    return name.encode("utf-8", "surrogateescape")


def name_hash(name: bytes) -> int:
    """The 64 bits that lead to a name."""
    return mmh3.hash64(name, signed=False)[0]


def index_of(hashed: int, bits: int, width: int) -> int:
    """The next ``width`` bits of a hash of which ``bits`` are used."""
    return hashed >> HASH_BITS - bits - width & (1 << width) - 1


def decode_shard(cid: CID, data: Buffer, *, place: Place = ROOT, fanout: int | None = None) -> Shard:
    """A block as a shard of a trie whose root has ``fanout`` children per shard.

    Raises ``InvalidBlock`` naming the block where it is none, or where a reader could be led astray: a fanout or hash
    function out of the spec, a bitfield that does not agree with the links, a shard below the end of the hash.
    """
    try:
        return _decode(cid, data, place, fanout)
    except InvalidBlock as error:
        raise InvalidBlock(f"HAMT shard {cid}: {error}") from None


def _decode(cid: CID, data: Buffer, place: Place, expected: int | None) -> Shard:
    if cid.codec != DAG_PB:
        raise InvalidBlock("its CID is not of dag-pb")
    node = dag_pb.decode(data)
    if node.data is None:
        raise InvalidBlock("it has no UnixFS data")
    head = unixfs.decode(node.data)
    if head.type != unixfs.HAMT_SHARD:
        raise InvalidBlock("its UnixFS type is not HAMTShard")
    if head.hash_type != MURMUR3_X64_64:
        raise InvalidBlock(f"hash function {head.hash_type} is not murmur3-x64-64")
    fanout = head.fanout or 0
    if not valid_fanout(fanout) or expected not in (None, fanout):
        raise InvalidBlock(f"a fanout of {fanout} is not allowed here")
    width = fanout.bit_length() - 1
    if place.bits + width > HASH_BITS:
        raise InvalidBlock("it is deeper than the hash of a name reaches")
    if not node.links and place != ROOT:
        raise InvalidBlock("it is empty and not the root")  # a trie of such could be endless without one entry
    slots = _slots(node.links, bytes(head.data or b""), fanout)
    return Shard(cid, fanout, slots, Stat(head.mode, head.mtime))


def _slots(links: list[dag_pb.PBLink], field: bytes, fanout: int) -> list[Slot]:
    # Writers cut the bitfield's leading zero bytes off, so it may be short, but never long.
    if len(field) > fanout // 8:
        raise InvalidBlock(f"a bitfield of {len(field)} bytes is too long for a fanout of {fanout}")
    bits = int.from_bytes(field, "big")
    if bits.bit_count() != len(links):
        raise InvalidBlock(f"its bitfield has {bits.bit_count()} bits set and it has {len(links)} links")
    names = index_names(fanout)
    cut = len(names[0])
    slots = []
    for link in links:
        index = (bits & -bits).bit_length() - 1
        bits &= bits - 1
        name = link.name or ""
        if name[:cut] != names[index]:
            raise InvalidBlock(f"link {name[:40]!r} does not belong to bit {index} of the bitfield")
        slots.append(Slot(index, dag_pb.PBLink(link.cid, name[cut:], link.tsize)))
    return slots


def index_names(fanout: int) -> list[str]:
    """The prefixes of links by index: upper-case hexadecimal, all of one length."""
    return _INDEX_NAMES[fanout]


_INDEX_NAMES = {
    fanout: [f"{index:0{len(f'{fanout - 1:X}')}X}" for index in range(fanout)]
    for fanout in (1 << width for width in range(3, 11))
}


def lookup(root: CID, name: str, data: Buffer | None = None) -> Generator[CID, Buffer, dag_pb.PBLink | None]:
    """The entry of a name, or ``None``. Yields the CIDs of the shards that it needs, one a level, and is sent their
    bytes; ``data`` are the root's, where they are here. Raises ``InvalidBlock`` naming the shard that is none."""
    try:
        hashed = name_hash(name_bytes(name))
    except UnicodeEncodeError:
        return None  # half of a surrogate pair: no name on the wire reads so
    place, fanout, cid = ROOT, None, root
    while True:
        if data is None:
            data = yield cid
        shard = decode_shard(cid, data, place=place, fanout=fanout)
        fanout, data = shard.fanout, None
        width = fanout.bit_length() - 1
        index = index_of(hashed, place.bits, width)
        link = next((slot.link for slot in shard.slots if slot.position == index), None)
        if link is None or link.name:
            return link if link is not None and link.name == name else None
        place, cid = place.child(index, width), link.cid


class Row(NamedTuple):
    """An entry with the hash of its name; rows sort in the order of the trie."""

    hashed: int
    name: bytes
    link: dag_pb.PBLink


def rows_of(links: Iterable[dag_pb.PBLink]) -> list[Row]:
    """Entries in the order of the trie; their names differ."""
    named = ((name_bytes(link.name or ""), link) for link in links)
    return sorted(Row(name_hash(name), name, link) for name, link in named)


def build_hamt(links: Iterable[dag_pb.PBLink], profile: Profile, stat: Stat) -> Built:
    """The trie of entries with different names; raises ``InvalidName`` where two names have one hash."""
    out: list[Block] = []
    root = _build(rows_of(links), ROOT, profile, stat, out)
    return Built(root.cid, 0, root.tsize or 0, out)


def _build(rows: list[Row], place: Place, profile: Profile, stat: Stat, out: list[Block]) -> dag_pb.PBLink:
    width = profile.hamt_fanout.bit_length() - 1
    check_depth(place, width, *(row.name for row in rows[:2]))
    slots = []
    start, count = 0, len(rows)
    while start < count:
        index = index_of(rows[start].hashed, place.bits, width)
        end = start + 1
        while end < count and index_of(rows[end].hashed, place.bits, width) == index:
            end += 1
        if end == start + 1:
            slots.append(Slot(index, rows[start].link))
        else:
            slots.append(Slot(index, _build(rows[start:end], place.child(index, width), profile, Stat(), out)))
        start = end
    return encode_shard(slots, profile, stat, out)


def check_depth(place: Place, width: int, *names: bytes) -> None:
    """Raise ``InvalidName`` where the hashes of these names have no bits left that could tell them apart."""
    if place.bits + width > HASH_BITS:
        both = " and ".join(map(repr, names))
        raise InvalidName(f"the names {both} have one hash and cannot be in one sharded directory; rename one")


def encode_shard(slots: Iterable[Slot], profile: Profile, stat: Stat, out: list[Block]) -> dag_pb.PBLink:
    """Make the block of a shard, put it into ``out`` and return the nameless link to it."""
    names = index_names(profile.hamt_fanout)
    links, bits, below = [], 0, 0
    for index, link in slots:
        links.append(dag_pb.PBLink(link.cid, names[index] + (link.name or ""), link.tsize))
        bits |= 1 << index
        below += link.tsize or 0
    node = unixfs.FSNode(
        type=unixfs.HAMT_SHARD,
        data=bits.to_bytes((bits.bit_length() + 7) // 8, "big") or None,
        hash_type=MURMUR3_X64_64,
        fanout=profile.hamt_fanout,
        mode=stat.mode,
        mtime=stat.mtime,
    )
    block = profile.block(dag_pb.encode(dag_pb.PBNode(links, unixfs.encode(node))))
    out += stored(block)
    return dag_pb.PBLink(block.cid, "", min(memoryview(block.data).nbytes + below, MAX_TSIZE))
