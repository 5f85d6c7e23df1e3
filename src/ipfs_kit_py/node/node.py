"""The node: every verb of the package, async, over the services that ``open_node`` wired."""

from __future__ import annotations

import base64
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from ipfs_kit_py.content import fetch as dags
from ipfs_kit_py.content.add import Row, add_entries, chosen_profile
from ipfs_kit_py.content.files import Entry, tree
from ipfs_kit_py.content.get import get_tree
from ipfs_kit_py.content.known import built_as
from ipfs_kit_py.content.tar import tar_of
from ipfs_kit_py.content.tree import DirEntry, Trees
from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.cid import CID, DAG_PB, RAW, Block, PeerID
from ipfs_kit_py.core.config import MAX_BLOCK_BYTES
from ipfs_kit_py.core.errors import (
    ConfigError,
    HashMismatch,
    InvalidAddress,
    InvalidBlock,
    LocalError,
    NotAFile,
    NotFound,
    NotRunning,
)
from ipfs_kit_py.dag import codecs, paths
from ipfs_kit_py.node.messages import Messages

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

    from typing_extensions import Buffer

    from ipfs_kit_py.bitswap.exchange import Bitswap, BitswapStatistics
    from ipfs_kit_py.content.pump import Reading
    from ipfs_kit_py.content.source import BlockSource
    from ipfs_kit_py.core.config import NodeConfig
    from ipfs_kit_py.core.interfaces import Stream
    from ipfs_kit_py.crypto.keys import PrivateKey
    from ipfs_kit_py.net.swarm import Swarm, SwarmStatistics
    from ipfs_kit_py.node.messages import MessageHandler
    from ipfs_kit_py.storage.base import LocalStore, StoreStatistics

READ_BYTES_MAX = 1 << 30  # of a file that is returned as one ``bytes``


class Added(NamedTuple):
    """What ``add`` made: the root, its cumulative size in bytes, and the name of what was added."""

    cid: CID
    size: int
    name: str


class RepoStat(NamedTuple):
    """Size of the store: bytes of blocks, quota, blocks, folder."""

    size: int
    quota: int
    blocks: int
    path: str


class Verified(NamedTuple):
    """One block that was hashed again; ``error`` is empty where it is whole."""

    cid: CID
    error: str


@dataclass(frozen=True)
class NodeStatistics:
    """Counters of every service; ``None`` for those that an offline node has not got."""

    store: StoreStatistics
    network: SwarmStatistics | None
    exchange: BitswapStatistics | None


class Node:
    """A running node; made by ``open_node``. Paths are ``CID``, ``CID/name`` or ``/ipfs/CID/name``.

    Verbs that need the network raise ``NotRunning`` on an offline node; those that need content that nobody has wait
    for it: put a ``trio.fail_after`` around them.
    """

    def __init__(
        self,
        config: NodeConfig,
        key: PrivateKey,
        source: BlockSource,
        store: LocalStore,
        nursery: trio.Nursery,
        *,
        network: Swarm | None,
        exchange: Bitswap | None,
    ) -> None:
        self.config = config
        self.peer_id: PeerID = key.peer_id()
        self._key = key
        self._source = source
        self._store = store
        self._nursery = nursery
        self._swarm = network
        self._exchange = exchange
        self._trees = Trees(nursery, source)
        self._messages = None if network is None else Messages(network, self._make_ready)
        self._maker: Callable[[str], Iterable[bytes] | None] | None = None
        self._stop = trio.Event()

    def __repr__(self) -> str:
        return f"<Node {self.peer_id} {self.config.role} {self._swarm or 'offline'!r}>"

    # --- life ---------------------------------------------------------------------------------------------------------

    def request_stop(self) -> None:
        """Ask whoever waits in ``wait_stop`` to take the node down."""
        self._stop.set()

    async def wait_stop(self) -> None:
        """Wait for ``request_stop``."""
        await self._stop.wait()

    async def statistics(self) -> NodeStatistics:
        """Counters of store, network and exchange."""
        store = await trio.to_thread.run_sync(self._store.statistics)
        return NodeStatistics(
            store,
            None if self._swarm is None else self._swarm.statistics(),
            None if self._exchange is None else self._exchange.statistics(),
        )

    # --- network ------------------------------------------------------------------------------------------------------

    @property
    def network(self) -> Swarm:
        """The swarm; ``NotRunning`` on an offline node."""
        if self._swarm is None:
            raise NotRunning("this node is offline; open it without offline=True (on the command line: --offline)")
        return self._swarm

    @property
    def public_key_text(self) -> str:
        """The public key's protobuf in base64."""
        return base64.b64encode(self._key.public_key.encode()).decode()

    def addresses(self) -> list[str]:
        """Where this node can be reached, each with ``/p2p/<id>``."""
        return [] if self._swarm is None else [f"{item}/p2p/{self.peer_id}" for item in self._swarm.addresses()]

    def protocols(self) -> list[str]:
        """The protocols that this node answers."""
        return [] if self._swarm is None else self._swarm.protocols()

    async def connect(self, address: str) -> PeerID:
        """Connect to a multiaddr with ``/p2p/<id>``, or to a known peer's id; it is asked for what is missing here.

        ``InvalidAddress`` without a peer id, ``PeerUnreachable`` where no address answers.
        """
        where, mark, text = address.rpartition("/p2p/")
        peer = PeerID.parse(text.strip("/"))
        if mark and "/p2p/" in where:
            raise InvalidAddress(f"{address}: connecting through a relay is not supported in this version")
        await self.network.connect(peer, [where] if where else (), force=True)
        if self._exchange is not None:
            self._exchange.always_ask(peer)
        return peer

    async def disconnect(self, peer: PeerID) -> bool:
        """Close the connections to a peer; whether there was one."""
        if peer not in self.network.connected():
            return False
        await self.network.disconnect(peer)
        return True

    def peers(self) -> list[PeerID]:
        """The connected peers."""
        return [] if self._swarm is None else list(self._swarm.connected())

    def connections(self) -> list[tuple[PeerID, str, float | None]]:
        """Peer, address and round-trip time in seconds of each connection."""
        return [(item.peer_id, item.remote_address, item.rtt) for item in self.network.connections()]

    def known_addresses(self) -> dict[PeerID, list[str]]:
        """The known addresses of the connected peers."""
        return {peer: [known.text for known in self.network.addresses_of(peer)] for peer in self.peers()}

    def handle(self, protocol: str, handler: Callable[[Stream], Awaitable[None]]) -> None:
        """Serve a protocol with an async handler that gets each stream."""
        self.network.set_handler(protocol, handler)

    async def open_stream(self, peer: PeerID, protocols: Sequence[str]) -> Stream:
        """A stream that speaks the first of ``protocols`` that the peer supports."""
        return await self.network.open_stream(peer, protocols)

    async def ping(self, peer: PeerID) -> float:
        """The round-trip time to a peer in seconds."""
        return await self.network.ping(peer)

    def on_message(self, handler: MessageHandler | None) -> None:
        """Answer messages: ``handler(peer_id, data)``, sync (in a thread) or async, returns the reply."""
        self._need_messages().on_message(handler)

    async def send_message(self, peer: PeerID, data: bytes) -> bytes:
        """Send a message and read the reply."""
        return await self._need_messages().send(peer, data)

    def _need_messages(self) -> Messages:
        if self._messages is None:
            raise NotRunning("this node is offline; open it without offline=True")
        return self._messages

    # --- adding -------------------------------------------------------------------------------------------------------

    async def add_bytes(self, data: Buffer, *, profile: str | None = None, pin: bool = True) -> CID:
        """Add a file's content; returns its root."""

        async def chunks() -> AsyncIterator[Buffer]:
            yield data

        return await self.add_stream(chunks(), profile=profile, pin=pin)

    async def add_stream(self, chunks: AsyncIterator[Buffer], *, profile: str | None = None, pin: bool = True) -> CID:
        """Add a file's content that comes in pieces; returns its root."""

        async def entries() -> AsyncIterator[Entry]:
            yield Entry("", "file", chunks=lambda: chunks)

        return (await self._add(entries(), {"profile": profile}, pin=pin)).cid

    async def add(
        self,
        path: Path | str,
        *,
        recursive: bool = True,
        profile: str | None = None,
        only_hash: bool = False,
        wrap: bool = False,
        pin: bool = True,
        hidden: bool = False,
    ) -> Added:
        """Add a local file or directory and pin it; returns the root. ``LocalError`` for what cannot be read."""

        async def entries() -> AsyncIterator[Entry]:
            for entry in tree(Path(path), recursive=recursive, hidden=hidden):
                yield entry

        return await self._add(entries(), {"profile": profile}, only_hash=only_hash, wrap=wrap, pin=pin)

    async def _add(
        self,
        entries: AsyncIterator[Entry],
        options: Mapping[str, object],
        *,
        only_hash: bool = False,
        wrap: bool = False,
        pin: bool = True,
    ) -> Added:
        last: Row | None = None
        rows = self.add_entries(entries, options, only_hash=only_hash, wrap=wrap, pin=pin)
        async with aclosing(rows):
            async for row in rows:
                last = row if row.is_root else last
        if last is None or last.cid is None:
            raise LocalError("nothing was added: there was no file")
        return Added(last.cid, last.size, last.name)

    async def add_entries(
        self,
        entries: AsyncIterator[Entry],
        options: Mapping[str, object],
        *,
        only_hash: bool = False,
        wrap: bool = False,
        pin: bool = True,
        progress: Callable[[str, int], None] | None = None,
    ) -> AsyncGenerator[Row, None]:
        """Add a tree told in the order of a walk; a row for each finished entry. ``options`` as ``chosen_profile``."""
        profile = chosen_profile(options, self.config.profile)
        put = None if only_hash else partial(self._source.put_many, kept=pin)
        with self._store.hold():
            rows = add_entries(entries, profile, put=put, wrap=wrap, progress=progress)
            async with aclosing(rows):
                async for row in rows:
                    if row.is_root and row.cid is not None and pin and not only_hash:
                        await trio.to_thread.run_sync(partial(self._store.pins.add, row.cid, name=row.name))
                    yield row

    async def store_bytes(self, cid: CID, data: bytes) -> None:
        """Store a block, or a file's content under its UnixFS root as its blocks; pinned.

        ``HashMismatch`` naming the true CID where no known profile makes ``cid`` from ``data``.
        """
        cid.check_allowed()
        if await trio.to_thread.run_sync(cid.verify, data):
            blocks = [Block(cid, data)]
        else:
            blocks = (await trio.to_thread.run_sync(built_as, cid, data)).blocks
        await self._source.put_many(blocks, kept=True)
        await trio.to_thread.run_sync(partial(self._store.pins.add, cid))

    # --- reading ------------------------------------------------------------------------------------------------------

    async def resolve(self, path: str | CID) -> paths.Resolved:
        """Where a path leads."""
        with self._source.session() as session:
            return await session.run(paths.resolve(path))

    async def _root(self, path: str | CID) -> CID:
        found = await self.resolve(path)
        if found.inside:
            raise NotAFile(f"{path} is a value inside of {found.cid}, not a block; use `dag get`")
        return found.cid

    async def cat(
        self, path: str | CID, *, offset: int = 0, length: int | None = None
    ) -> AsyncGenerator[memoryview, None]:
        """A file's bytes in order, in pieces, in bounded memory. ``NotAFile`` for anything else."""
        async with await self.open_file(path, offset=offset, length=length) as pieces:
            async for piece in pieces:
                yield piece

    async def open_file(self, path: str | CID, *, offset: int = 0, length: int | None = None) -> Reading[memoryview]:
        """A file's bytes as an iterator that reads ahead until it is closed."""
        if offset < 0 or (length is not None and length < 0):
            raise LocalError(f"offset and length are 0 or more bytes, not {offset} and {length}")
        stop = None if length is None else offset + length
        return self._trees.file(await self._root(path), offset, stop)

    async def read_bytes(self, path: str | CID) -> bytes:
        """A whole file, or for a CID of another codec its block. ``LocalError`` beyond ``READ_BYTES_MAX``."""
        cid = await self._root(path)
        if cid.codec not in (RAW, DAG_PB):
            return await self.block_get(cid)
        out = bytearray()
        async with self._trees.file(cid) as pieces:
            async for piece in pieces:
                out += piece
                if len(out) > READ_BYTES_MAX:
                    raise LocalError(f"{path} is larger than {READ_BYTES_MAX} bytes; read it in pieces with cat")
        return bytes(out)

    async def local_bytes(self, cid: CID) -> bytes:
        """What the store alone has under a CID: a file, else the block; ``NotFound`` where it is not whole."""
        offline = type(self._source)(self._store, None)
        with offline.session() as session:
            block = await session.get(cid)
        if cid.codec != DAG_PB:
            return block
        try:
            async with Trees(self._nursery, offline).file(cid) as pieces:
                return b"".join([piece async for piece in pieces])
        except (NotAFile, InvalidBlock):
            return block

    async def ls(self, path: str | CID) -> AsyncGenerator[DirEntry, None]:
        """A directory's entries; a file lists as nothing below it. Large directories come in pages."""
        cid = await self._root(path)
        with self._source.session() as session:
            async with aclosing(self._trees.entries(session, cid)) as entries:
                async for name, child, kind in entries:
                    yield DirEntry(name, child, kind.name, kind.size)

    async def get(self, path: str | CID, dest: Path | str, *, progress: Callable[[int], None] | None = None) -> None:
        """Write a file or tree to ``dest``, which it becomes. ``InvalidName`` for names that would leave it."""
        dest = await trio.to_thread.run_sync(Path(dest).absolute)
        await get_tree(self._trees, self._source, await self._root(path), dest, progress)

    async def tar(self, path: str | CID) -> AsyncGenerator[Buffer, None]:
        """A file or tree as a tar stream."""
        root = await self._root(path)
        name = str(path).rstrip("/").rpartition("/")[2] or str(root)
        async with aclosing(tar_of(self._trees, self._source, root, name)) as pieces:
            async for piece in pieces:
                yield piece

    async def fetch(self, path: str | CID, *, progress: Callable[[int], None] | None = None) -> dags.DagStat:
        """Bring a whole DAG into the store; returns its blocks and bytes."""
        return await dags.fetch(self._source, await self._root(path), progress)

    # --- on-demand content --------------------------------------------------------------------------------------------

    def set_content_maker(self, maker: Callable[[str], Iterable[bytes] | None] | None) -> None:
        """``maker(cid)`` gives the bytes of content that a peer asks for and that is not here, or ``None``."""
        self._maker = maker

    async def request_stream(self, peer: PeerID, cid: CID) -> None:
        """Ask a peer to have content ready. ``NotFound`` where it cannot."""
        if peer not in self.network.connected():
            await self.network.connect(peer)
        if self._exchange is not None:
            self._exchange.always_ask(peer)
        await self._need_messages().request_ready(peer, cid)

    async def _make_ready(self, cid: CID) -> bool:
        [there] = await trio.to_thread.run_sync(self._store.has_many, [cid.check_allowed()])
        if there or self._maker is None:
            return there
        maker = self._maker
        made = await trio.to_thread.run_sync(_made, maker, cid)
        if made is None:
            return False
        try:
            blocks = (await trio.to_thread.run_sync(built_as, cid, made)).blocks
        except HashMismatch:
            return False
        await self._source.put_many(blocks)
        return True

    # --- blocks -------------------------------------------------------------------------------------------------------

    async def block_get(self, cid: CID | str) -> bytes:
        """A block's bytes."""
        with self._source.session() as session:
            return await session.get(CID.parse(cid))

    async def block_put(
        self,
        data: Buffer,
        *,
        codec: str = "raw",
        mhtype: str = "sha2-256",
        version: int = 1,
        pin: bool = False,
    ) -> CID:
        """Store a block as it is; returns its CID. ``InvalidBlock`` where it is larger than a peer would take."""
        if mhtype not in multihash.CODES:
            raise ConfigError(f"hash {mhtype!r} is not known; use one of {', '.join(multihash.CODES)}")
        size = memoryview(data).nbytes
        if size > MAX_BLOCK_BYTES:
            raise InvalidBlock(f"a block has at most {MAX_BLOCK_BYTES} bytes, this one has {size}; use `add`")
        cid = CID(version, codecs.codec_number(codec), multihash.of(data, multihash.CODES[mhtype])).check_allowed()
        await self._source.put_many([Block(cid, data)], kept=True)
        if pin:
            await trio.to_thread.run_sync(partial(self._store.pins.add, cid, recursive=True))
        return cid

    async def block_stat(self, cid: CID | str) -> int:
        """A block's size in bytes; it is fetched where it is not here."""
        cid = CID.parse(cid)
        [size] = await trio.to_thread.run_sync(self._store.sizes, [cid])
        return len(await self.block_get(cid)) if size is None else size

    async def block_rm(self, cid: CID | str, *, force: bool = False) -> None:
        """Remove a block from the store. ``LocalError`` where a pin keeps it, ``NotFound`` where it is not there."""
        cid = CID.parse(cid)
        [there] = await trio.to_thread.run_sync(self._store.has_many, [cid])
        if not there:
            if force:
                return
            raise NotFound(f"block {cid} is not in the store", cid=cid)
        if cid.multihash in await trio.to_thread.run_sync(self._pinned):
            raise LocalError(f"block {cid} is pinned; unpin it first (pin ls names what keeps it)")
        await trio.to_thread.run_sync(self._store.delete_many, [cid])

    # --- DAGs ---------------------------------------------------------------------------------------------------------

    async def dag_get(self, path: str | CID) -> Any:
        """A value of the data model; links are ``CID`` objects."""
        found = await self.resolve(path)
        if found.inside:
            return found.value
        return codecs.decode(found.cid.codec, await self.block_get(found.cid))

    async def dag_put(self, value: Any, *, codec: str = "dag-cbor", mhtype: str = "sha2-256", pin: bool = False) -> CID:
        """Store a value; returns its CID."""
        data = codecs.encode(value, codecs.codec_number(codec))
        return await self.block_put(data, codec=codec, mhtype=mhtype, pin=pin)

    async def dag_export(self, path: str | CID, write: Callable[[Buffer], Awaitable[None]]) -> dags.DagStat:
        """Write a whole DAG as a CAR of version 1, through ``await write(part)``."""
        return await dags.export(self._source, await self._root(path), write)

    async def dag_import(self, pieces: AsyncIterator[Buffer], *, pin_roots: bool = True) -> dags.Imported:
        """Take a CAR's blocks, and pin the roots whose DAGs are whole. A malformed CAR leaves nothing behind."""
        with self._store.hold():
            found = await dags.import_car(self._source, pieces)
            if pin_roots:
                for root, problem in found.roots:
                    if not problem:
                        await trio.to_thread.run_sync(self._store.pins.add, root)
        return found

    async def dag_stat(self, path: str | CID) -> dags.DagStat:
        """Blocks and bytes of a DAG; what is missing is fetched."""
        return await self.fetch(path)

    # --- pins and the store -------------------------------------------------------------------------------------------

    async def pin_add(self, path: str | CID, *, recursive: bool = True, name: str = "") -> CID:
        """Fetch what is missing and keep it; returns the CID."""
        cid = await self._root(path)
        with self._store.hold():
            if recursive:
                await dags.keep(self._source, cid)
            else:
                await self._source.put_many([Block(cid, await self.block_get(cid))], kept=True)
            await trio.to_thread.run_sync(partial(self._store.pins.add, cid, recursive=recursive, name=name))
        return cid

    async def pin_rm(self, path: str | CID) -> CID:
        """Stop keeping. ``NotFound`` where it is not pinned."""
        cid = await self._root(path)
        await trio.to_thread.run_sync(self._store.pins.rm, cid)
        return cid

    async def pin_ls(self, *, kind: str = "all") -> list[tuple[CID, str, str]]:
        """CID, type and name of pins: ``recursive``, ``direct``, ``indirect`` (kept by another) or ``all``."""
        if kind not in ("all", "recursive", "direct", "indirect"):
            raise ConfigError(f"pin type {kind!r} is not one of recursive, direct, indirect, all")
        pins = await trio.to_thread.run_sync(lambda: list(self._store.pins.ls()))
        rows = [(pin.cid, pin.kind, pin.name) for pin in pins if kind in ("all", pin.kind)]
        if kind in ("all", "indirect"):
            roots = [pin.cid for pin in pins if pin.recursive]
            rows += await trio.to_thread.run_sync(self._indirect, roots, {pin.cid.multihash for pin in pins})
        return rows

    def _indirect(self, roots: list[CID], pinned: set[bytes]) -> list[tuple[CID, str, str]]:
        found = dags.reachable_cids(self._store, roots)
        return [(cid, "indirect", "") for cid in found if cid.multihash not in pinned]

    def _pinned(self) -> set[bytes]:
        """Multihashes of everything that a pin keeps."""
        pins = list(self._store.pins.ls())
        kept = dags.reachable(self._store, [pin.cid for pin in pins if pin.recursive])
        return kept | {pin.cid.multihash for pin in pins}

    async def repo_gc(self) -> AsyncGenerator[CID, None]:
        """Remove what no pin keeps, without stopping writers; yields what was removed."""
        mark = await trio.to_thread.run_sync(self._store.mark)
        kept = await trio.to_thread.run_sync(self._pinned)
        batches = self._store.sweep(kept, mark)
        while (batch := await trio.to_thread.run_sync(next, batches, None)) is not None:
            for removed in batch:
                yield CID(1, RAW, removed)

    async def repo_verify(self) -> AsyncGenerator[Verified, None]:
        """Hash every block again; one result for each."""
        results = self._store.verify()

        def some() -> list[Verified]:
            found = []
            for checked in results:
                found.append(Verified(CID(1, RAW, checked.multihash), checked.problem or ""))
                if len(found) >= dags.LOCAL_BATCH:
                    break
            return found

        while batch := await trio.to_thread.run_sync(some):
            for item in batch:
                yield item

    async def repo_stat(self) -> RepoStat:
        """Size of the store."""
        found = await trio.to_thread.run_sync(self._store.statistics)
        return RepoStat(found.bytes, found.quota, found.blocks, str(self.config.repo or "(memory)"))


def _made(maker: Callable[[str], Iterable[bytes] | None], cid: CID) -> bytes | None:
    parts = maker(str(cid))
    return None if parts is None else b"".join(parts)
