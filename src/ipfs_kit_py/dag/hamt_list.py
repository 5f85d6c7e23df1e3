"""List a sharded directory: many shards are asked for at once, the entries come out in the order of the trie."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import HAMT_AHEAD_CHILDREN, HAMT_AHEAD_SHARD_BYTES, HAMT_MAX_FRONTIER
from ipfs_kit_py.core.errors import InvalidBlock
from ipfs_kit_py.dag.hamt import HASH_BITS, ROOT, Place, Shard, decode_shard, name_bytes, name_hash

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ipfs_kit_py.dag.dag_pb import PBLink


ENTRY_BYTES = 400  # what an entry that waits costs besides its bytes on the wire: its objects

# The first hash that leads to a place, and the bits used: sorts places in the order of the trie, a shard before what
# is below it.
_Key = tuple[int, int]


def _key(place: Place) -> _Key:
    return place.prefix << HASH_BITS - place.bits, place.bits


def _place(key: _Key) -> Place:
    return Place(key[0] >> HASH_BITS - key[1], key[1])


class HamtEntries:
    """A reading plan for all entries of a sharded directory.

    ``wanted`` says which shards to get now, ``feed`` takes them in any order, ``pop`` gives the next entries (a few
    at a time, names without prefix) or ``None`` where their shard is not here yet; ``done`` when all were popped.
    Both raise ``InvalidBlock`` naming a shard that is none, that is in two places, or with an entry whose name does
    not lead there: such a trie could have more entries than anyone could list, in a few blocks.
    """

    def __init__(self, root: CID) -> None:
        self._root = root
        self._fanout: int | None = None
        self._frontier: list[tuple[_Key, bytes]] = [(_key(ROOT), root.raw)]  # a CID's bytes are a third of it
        self._asked: dict[CID, _Key] = {}
        self._missing: list[_Key] = [_key(ROOT)]  # shards not here, the next in order first; some are here by now
        self._here: set[_Key] = set()
        self._ready: list[tuple[_Key, int, list[PBLink]]] = []
        self._held = 0  # bytes of shards whose entries wait in ``ready``

    @property
    def done(self) -> bool:
        """Whether every entry was popped."""
        return not self._missing and not self._ready

    def wanted(self, budget: int) -> list[tuple[CID, int | None]]:
        """Shards to get now with what they are expected to weigh, so that at most ``budget`` bytes are asked for or
        held, and one where nothing else is under way."""
        width = self._fanout or 1
        many = HAMT_AHEAD_CHILDREN // width
        most = min(
            many if len(self._frontier) <= HAMT_MAX_FRONTIER else many // 4,
            (budget - self._held) // HAMT_AHEAD_SHARD_BYTES,
        )
        out: list[tuple[CID, int | None]] = []
        while self._frontier and len(self._asked) < max(1, most):
            key, raw = heapq.heappop(self._frontier)
            cid = CID.from_bytes(raw)
            if cid in self._asked:
                raise InvalidBlock(f"HAMT shard {cid}: it is at two places of {self._root}")
            self._asked[cid] = key
            out.append((cid, HAMT_AHEAD_SHARD_BYTES))
        return out

    def feed(self, cid: CID, data: Buffer) -> None:
        """Take a shard's bytes; one that was not asked for is ignored."""
        key = self._asked.pop(cid, None)
        if key is None:
            return
        place = _place(key)
        shard = decode_shard(cid, data, place=place, fanout=self._fanout)
        self._fanout = shard.fanout
        self._here.add(key)
        runs = self._sort_out(shard, place)
        size = memoryview(data).nbytes + sum(len(links) for _, links in runs) * ENTRY_BYTES if runs else 0
        self._held += size
        for first, links in runs:
            heapq.heappush(self._ready, (first, size if links is runs[-1][1] else 0, links))

    def _sort_out(self, shard: Shard, place: Place) -> list[tuple[_Key, list[PBLink]]]:
        """The entries between the shards below, each run with the place of its first; the shards are noted."""
        width = shard.fanout.bit_length() - 1
        used = HASH_BITS - place.bits - width
        runs: list[tuple[_Key, list[PBLink]]] = []
        run: list[PBLink] | None = None
        for index, link in shard.slots:
            below = place.child(index, width)
            if not link.name:
                key = _key(below)
                heapq.heappush(self._frontier, (key, link.cid.raw))
                heapq.heappush(self._missing, key)
                run = None
                continue
            if name_hash(name_bytes(link.name)) >> used != below.prefix:
                why = "it does not belong there, or the directory's root is another block"
                raise InvalidBlock(f"HAMT shard {shard.cid}, entry {link.name[:80]!r}: {why}")
            if run is None:
                run = []
                runs.append((_key(below), run))
            run.append(link)
        return runs

    def pop(self) -> list[PBLink] | None:
        """The next entries in the order of the trie, ``None`` where they are not here yet or there are no more."""
        while self._missing and self._missing[0] in self._here:
            self._here.discard(heapq.heappop(self._missing))
        if not self._ready or (self._missing and self._missing[0] < self._ready[0][0]):
            return None
        _, size, links = heapq.heappop(self._ready)
        self._held -= size
        return links
