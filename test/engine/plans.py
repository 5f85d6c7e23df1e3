"""Driving plans from blocks in memory, and DAGs made to measure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ipfs_kit_py.core.cid import CID, DAG_CBOR, DAG_PB, RAW, Block
from ipfs_kit_py.core.errors import NotFound
from ipfs_kit_py.core.multihash import IDENTITY
from ipfs_kit_py.dag import codecs, dag_pb, paths, unixfs
from ipfs_kit_py.dag.hamt_list import HamtEntries
from ipfs_kit_py.dag.reader import FileReader

if TYPE_CHECKING:
    import random
    from collections.abc import Generator, Iterable, Sequence


class Store(dict[bytes, bytes]):
    """Blocks by multihash."""

    def __init__(self, blocks: Iterable[Block] = ()) -> None:
        super().__init__({cid.multihash: bytes(data) for cid, data in blocks})

    def put(self, data: bytes, codec: int = DAG_PB) -> CID:
        """Keep a block."""
        cid = CID.of(data, codec)
        self[cid.multihash] = data
        return cid

    def get(self, cid: CID) -> bytes:  # type: ignore[override]
        """A block; ``NotFound`` naming it."""
        if cid.hash_code == IDENTITY:
            return cid.digest
        if cid.multihash not in self:
            raise NotFound(f"block {cid} is missing", cid=cid)
        return self[cid.multihash]

    def run(self, plan: Any, budget: int = 1 << 20, rng: random.Random | None = None) -> tuple[list[Any], list[CID]]:
        """Drive a plan to its end, blocks in any order; what it gave out and the CIDs that it asked for."""
        out, asked, waiting = [], [], []
        while True:
            while (item := plan.pop()) is not None:
                out.append(item)
            if plan.done:
                return out, asked
            wanted = [cid for cid, _ in plan.wanted(budget)]
            asked += wanted
            waiting += wanted
            if plan.done:
                continue
            assert waiting, "the plan is stuck"
            cid = waiting.pop(rng.randrange(len(waiting)) if rng else 0)
            plan.feed(cid, self.get(cid))

    def drive(self, plan: Generator[CID, bytes, Any]) -> Any:
        """Run a plan that asks for one block after another."""
        try:
            cid = next(plan)
            while True:
                cid = plan.send(self.get(cid))
        except StopIteration as end:
            return end.value

    def resolve(self, path: str | CID) -> paths.Resolved:
        """Follow a path."""
        return self.drive(paths.resolve(path))  # type: ignore[no-any-return]


class Part(NamedTuple):
    """A file, or a part of one."""

    cid: CID
    content: bytes


def leaf(store: Store, content: bytes, kind: str = "raw") -> Part:
    """A leaf as ``raw`` bytes, or a node of the UnixFS type ``file`` or ``old`` (raw)."""
    if kind == "raw":
        return Part(store.put(content, RAW), content)
    head = unixfs.FSNode(unixfs.FILE if kind == "file" else unixfs.RAW, content, len(content))
    return Part(store.put(dag_pb.encode(dag_pb.PBNode([], unixfs.encode(head)))), content)


def join(store: Store, parts: Sequence[Part], own: bytes = b"", **lies: Any) -> Part:
    """A node over parts, with bytes of its own before theirs; ``lies`` replaces fields of its UnixFS node."""
    fields: dict[str, Any] = {
        "type": unixfs.FILE,
        "data": own or None,
        "filesize": len(own) + sum(len(part.content) for part in parts),
        "blocksizes": [len(part.content) for part in parts],
        **lies,
    }
    links = [dag_pb.PBLink(part.cid, "", len(part.content)) for part in parts]
    data = dag_pb.encode(dag_pb.PBNode(links, unixfs.encode(unixfs.FSNode(**fields))))
    return Part(store.put(data), own + b"".join(part.content for part in parts))


def trickle(store: Store, chunks: list[bytes], width: int = 2, depth: int = 6) -> Part:
    """The layout that Kubo calls trickle: leaves first, then subtrees that grow deeper."""
    parts = [leaf(store, chunk) for chunk in _take(chunks, width)]
    for level in range(depth):
        if chunks:
            parts.append(trickle(store, chunks, width, level))
    return join(store, parts)


def _take(chunks: list[bytes], count: int) -> list[bytes]:
    taken = chunks[:count]
    del chunks[:count]
    return taken


def value(store: Store, found: Any) -> CID:
    """A block of dag-cbor."""
    return store.put(codecs.encode(found, DAG_CBOR), DAG_CBOR)


def tree(store: Store, cid: CID) -> dict[str, Any]:
    """Everything below a directory: path -> bytes, or the target of a link, or a value."""
    if cid.codec == RAW:
        return {"": store.get(cid)}
    if cid.codec != DAG_PB:
        return {"": codecs.read(cid, store.get(cid))}
    node = dag_pb.decode(store.get(cid))
    head = unixfs.decode(node.data or b"")
    if head.type in (unixfs.FILE, unixfs.RAW):
        return {"": b"".join(store.run(FileReader(cid))[0])}
    if head.type == unixfs.SYMLINK:
        return {"": ("link", bytes(head.data or b"").decode())}
    links = node.links
    if head.type == unixfs.HAMT_SHARD:
        links = [link for run in store.run(HamtEntries(cid))[0] for link in run]
    found = {}
    for link in links:
        for path, content in tree(store, link.cid).items():
            found[f"{link.name}/{path}".rstrip("/")] = content
    return found
