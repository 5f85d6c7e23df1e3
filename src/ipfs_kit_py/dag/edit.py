"""Change a directory that is in blocks: only the shards on the way to the names are read and made anew.

The result is the directory that its entries would make from nothing: one block grows into a HAMT over the profile's
threshold, and a HAMT that is under it becomes one block again. (A HAMT keeps its own fanout, and with a threshold of 0
it stays one.) Source: ipfs/specs src/unixfs.md, section "HAMTShard".
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ipfs_kit_py.core.errors import InvalidBlock, NotFound
from ipfs_kit_py.dag import dag_pb, unixfs
from ipfs_kit_py.dag.directory import build_directory, check_name, estimate
from ipfs_kit_py.dag.hamt import (
    MAX_TSIZE,
    ROOT,
    Place,
    Slot,
    check_depth,
    decode_shard,
    encode_shard,
    index_of,
    name_bytes,
    name_hash,
)
from ipfs_kit_py.dag.profiles import Built, Profile, Stat

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping

    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import CID, Block


LEAST_SHARD_BYTES = 10  # what the entries below a shard count at least: two, each with a name of 1 byte and a CID of 4


class _Node:
    """A shard in memory: by index entries, links to shards in blocks (without a name), and shards in memory."""

    __slots__ = ("slots",)

    def __init__(self, slots: Mapping[int, dag_pb.PBLink | _Node]) -> None:
        self.slots = dict(slots)


def edit_directory(
    root: CID,
    profile: Profile,
    *,
    put: Mapping[str, tuple[CID, int]] | None = None,
    remove: Collection[str] = (),
    removed: dict[str, CID] | None = None,
) -> Generator[CID, Buffer, Built]:
    """The directory at ``root`` without the names in ``remove`` and with those in ``put`` (CID and cumulative size),
    which replace what had their name.

    Yields the CIDs of the blocks that it needs, one after another, and is sent their bytes. Raises ``NotFound`` for a
    name to be removed that is not there, ``InvalidName`` for one that no entry may have, ``InvalidBlock`` where a
    block is no directory. With ``removed`` a name that is not there is no error: what was there is put into it.
    """
    changes = {name: dag_pb.PBLink(cid, check_name(name), tsize) for name, (cid, tsize) in (put or {}).items()}
    data = yield root
    node = dag_pb.decode(data)
    head = unixfs.decode(node.data or b"")
    if head.type == unixfs.HAMT_SHARD:
        return (yield from _Trie(root, data, profile, removed).edit(changes, remove))
    if head.type != unixfs.DIRECTORY:
        raise InvalidBlock(f"block {root} is no directory")
    entries = {link.name or "": _checked(root, link) for link in node.links}
    for name in remove:
        _note(root, name, entries.pop(name, None), removed)
    return build_directory((entries | changes).values(), profile, Stat(head.mode, head.mtime))


def _checked(block: CID, link: dag_pb.PBLink) -> dag_pb.PBLink:
    if (link.tsize or 0) > MAX_TSIZE:
        raise InvalidBlock(f"block {block} says that {link.cid} has {link.tsize} bytes, which cannot be")
    return link


def _note(root: CID, name: str, link: dag_pb.PBLink | None, removed: dict[str, CID] | None) -> None:
    """An entry was removed, or was not there."""
    if link is None and removed is None:
        raise NotFound(f"directory {root} has no entry {name[:80]!r}", cid=root)
    if link is not None and removed is not None:
        removed[name] = link.cid


class _Trie:
    """A sharded directory being changed."""

    def __init__(self, root: CID, data: Buffer, profile: Profile, removed: dict[str, CID] | None) -> None:
        self._removed = removed
        shard = decode_shard(root, data)
        self._root = root
        self._stat = shard.stat
        self._width = shard.fanout.bit_length() - 1
        self._profile = profile.replace(hamt_fanout=shard.fanout)
        self._top = _Node({slot.position: _checked(shard.cid, slot.link) for slot in shard.slots})
        self._shrunk = False

    def edit(self, changes: Mapping[str, dag_pb.PBLink], remove: Collection[str]) -> Generator[CID, Buffer, Built]:
        for name in remove:
            yield from self._remove(name)
        for name, link in changes.items():
            yield from self._put(name, link)
        if self._shrunk and self._profile.hamt_threshold:
            entries = yield from self._all_if_few()
            if entries is not None:
                return build_directory(entries, self._profile, self._stat)
        out: list[Block] = []
        root = self._encode(self._top, self._stat, out)
        return Built(root.cid, 0, root.tsize or 0, out)

    def _remove(self, name: str) -> Generator[CID, Buffer, None]:
        path, _ = yield from self._descend(name)
        node, index = path.pop()
        found = node.slots.get(index)
        if not isinstance(found, dag_pb.PBLink) or found.name != name:
            _note(self._root, name, None, self._removed)
            return
        _note(self._root, name, found, self._removed)
        del node.slots[index]
        self._shrunk = True
        # A shard that is left with one entry gives it to its parent: as high up as it is alone.
        while path and len(node.slots) <= 1:
            rest = next(iter(node.slots.values()), None)
            if isinstance(rest, _Node) or (rest is not None and not rest.name):
                return
            node, index = path.pop()
            if rest is None:
                del node.slots[index]
            else:
                node.slots[index] = rest

    def _put(self, name: str, link: dag_pb.PBLink) -> Generator[CID, Buffer, None]:
        path, place = yield from self._descend(name)
        node, index = path[-1]
        found = node.slots.get(index)
        if isinstance(found, dag_pb.PBLink) and found.name != name:
            node.slots[index] = self._fork(found, link, place)
        else:
            self._shrunk = self._shrunk or found is not None
            node.slots[index] = link

    def _descend(self, name: str) -> Generator[CID, Buffer, tuple[list[tuple[_Node, int]], Place]]:
        """The shards on the way to a name with the index taken in each, and the place where that leads."""
        hashed = name_hash(name_bytes(name))
        node, place = self._top, ROOT
        path = []
        while True:
            index = index_of(hashed, place.bits, self._width)
            path.append((node, index))
            place = place.child(index, self._width)
            child = node.slots.get(index)
            if isinstance(child, dag_pb.PBLink) and not child.name:
                child = node.slots[index] = yield from self._load(child.cid, place)
            if not isinstance(child, _Node):
                return path, place
            node = child

    def _load(self, cid: CID, place: Place) -> Generator[CID, Buffer, _Node]:
        shard = decode_shard(cid, (yield cid), place=place, fanout=self._profile.hamt_fanout)
        return _Node({slot.position: _checked(shard.cid, slot.link) for slot in shard.slots})

    def _fork(self, one: dag_pb.PBLink, other: dag_pb.PBLink, place: Place) -> _Node:
        names = name_bytes(one.name or ""), name_bytes(other.name or "")
        check_depth(place, self._width, *names)
        first, second = (index_of(name_hash(name), place.bits, self._width) for name in names)
        if first != second:
            return _Node({first: one, second: other})
        return _Node({first: self._fork(one, other, place.child(first, self._width))})

    def _all_if_few(self) -> Generator[CID, Buffer, list[dag_pb.PBLink] | None]:
        """All entries where one block can hold them; reads no further than it takes to know that it cannot."""
        left, weigh = estimate(self._profile, self._stat)
        found: list[dag_pb.PBLink] = []
        todo: deque[tuple[_Node | CID, Place]] = deque([(self._top, ROOT)])
        while todo:
            what, place = todo.popleft()
            node = what if isinstance(what, _Node) else (yield from self._load(what, place))
            for index, child in node.slots.items():
                if isinstance(child, dag_pb.PBLink) and child.name:
                    found.append(child)
                    left -= weigh(child)
                else:
                    todo.append((child if isinstance(child, _Node) else child.cid, place.child(index, self._width)))
            if (found or todo) and left < len(todo) * LEAST_SHARD_BYTES:
                return None
        return found

    def _encode(self, node: _Node, stat: Stat, out: list[Block]) -> dag_pb.PBLink:
        slots = []
        for index, child in sorted(node.slots.items(), key=lambda item: item[0]):
            link = self._encode(child, Stat(), out) if isinstance(child, _Node) else child
            slots.append(Slot(index, link))
        return encode_shard(slots, self._profile, stat, out)
