"""The Protocols through which the layers meet. ``node`` wires implementations of one row to users in another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import CID, Block, PeerID


class Stream(Protocol):
    """One bidirectional stream to a peer that the channel has authenticated. Belongs to the node's loop.

    Every method that waits may be cancelled: at most this stream is lost, never its connection. Where the stream or
    its connection was reset, reading and writing raise ``StreamClosed``.
    """

    @property
    def peer_id(self) -> PeerID: ...
    @property
    def protocol(self) -> str: ...
    @property
    def outbound(self) -> bool:
        """Whether this side opened it."""
        ...

    async def read(self, n: int | None = None) -> bytes:
        """Up to ``n`` bytes, at least one, ``b""`` at the end; without ``n`` everything until the remote half-closes,
        capped at ``STREAM_READ_ALL_BYTES`` (``ProtocolViolation`` beyond)."""
        ...

    async def read_exactly(self, n: int) -> bytearray:
        """Exactly ``n`` bytes; ``StreamClosed`` where the stream ends before."""
        ...

    async def read_message(self, limit: int) -> bytearray | None:
        """One message behind its varint length; ``None`` at a clean end; ``ProtocolViolation`` over ``limit`` bytes.
        Memory grows with the bytes that came, never with the length that was promised."""
        ...

    async def write(self, *parts: Buffer, release: Callable[[], None] | None = None) -> None:
        """Send the parts one after another without joining them. Returns when all are sealed or copied.

        ``release`` is called exactly once, as soon as the buffers are no longer referenced: sealed, or copied because
        the peer stalled for ``VIEW_HOLD_SECONDS``, or dropped with the stream."""
        ...

    async def write_message(self, *parts: Buffer, release: Callable[[], None] | None = None) -> None:
        """``write`` behind a varint with the length of all parts."""
        ...

    async def close_write(self) -> None:
        """Half-close: the remote reads an end, we may still read."""
        ...

    async def close(self) -> None:
        """Close both halves."""
        ...

    def reset(self) -> None:
        """Drop the stream at once, both ways."""
        ...

    async def wait_reset(self) -> None:
        """Wait until the stream is lost: reset by either side, or with its connection."""
        ...


class Connection(Protocol):
    """One authenticated, multiplexed connection."""

    @property
    def peer_id(self) -> PeerID: ...
    @property
    def remote_address(self) -> str:
        """Multiaddr text without ``/p2p``."""
        ...

    @property
    def local_address(self) -> str: ...
    @property
    def outbound(self) -> bool: ...
    @property
    def rtt(self) -> float | None:
        """Smoothed round-trip time in seconds, ``None`` before it was measured."""
        ...

    @property
    def is_closed(self) -> bool: ...
    async def close(self) -> None: ...


class Network(Protocol):
    """What a service sees of the network."""

    @property
    def peer_id(self) -> PeerID: ...

    def connected(self) -> Collection[PeerID]:
        """The peers that a connection is open to."""
        ...

    def rtt(self, peer: PeerID) -> float | None:
        """Smoothed round-trip time in seconds, ``None`` before it was measured."""
        ...

    async def connect(self, peer: PeerID, addresses: Iterable[str] = ()) -> Connection:
        """The open connection to a peer, or a new one over these and the known addresses. ``PeerUnreachable``."""
        ...

    async def open_stream(self, peer: PeerID, protocols: Sequence[str]) -> Stream:
        """A stream speaking the first of ``protocols`` that the peer supports; connects where needed.
        ``NotSupported`` where it supports none."""
        ...

    def set_handler(self, protocol: str, handler: Callable[[Stream], Awaitable[None]]) -> None:
        """Serve inbound streams. A handler that raises loses its own stream and is logged."""
        ...

    def remove_handler(self, protocol: str) -> None:
        """Serve a protocol no more; streams that are open go on."""
        ...

    def on_change(
        self, connected: Callable[[PeerID], None], disconnected: Callable[[PeerID], None]
    ) -> Callable[[], None]:
        """Call back, on the loop, after the first connection to a peer opened (``connected``) and after the last one
        closed. Returns the function that ends it."""
        ...

    def protocols_of(self, peer: PeerID) -> frozenset[str]:
        """What identify has told of a peer; empty before it has."""
        ...

    def is_local(self, peer: PeerID) -> bool:
        """Whether the peer is connected over a loopback or private address."""
        ...

    def penalise(self, peer: PeerID, amount: float, why: str) -> None:
        """Lower a peer's standing: 1.0 is one false block; enough of them close the connection and refuse it."""
        ...

    def add_value(self, peer: PeerID, amount: float) -> None:
        """Raise a peer's standing for trimming: bytes that it delivered or asked for."""
        ...


class Served(Protocol):
    """What is needed of a store to serve its blocks; thread safe."""

    def sizes(self, cids: Sequence[CID]) -> list[int | None]:
        """Bytes of each block, without reading it; ``None`` where one is not here."""
        ...

    def view(self, cids: Sequence[CID]) -> AbstractContextManager[list[memoryview | None]]:
        """Blocks in place, pages touched; the views die with the context. Keep it short."""
        ...


@runtime_checkable
class BlockStore(Protocol):
    """Blocks by multihash. Synchronous and thread safe; callers on the loop go through a worker thread.

    CIDs of one multihash name one block. Nothing is verified here: what is put must have been.
    """

    def get_many(self, cids: Sequence[CID]) -> list[bytes | None]:
        """The blocks in the order asked for, ``None`` where one is not here."""
        ...

    def has_many(self, cids: Sequence[CID]) -> list[bool]:
        """Whether each is here."""
        ...

    def sizes(self, cids: Sequence[CID]) -> list[int | None]:
        """Bytes of each block, without reading it."""
        ...

    def view(self, cids: Sequence[CID]) -> AbstractContextManager[list[memoryview | None]]:
        """Blocks in place, pages touched; the views die with the context. Keep it short."""
        ...

    def put_many(self, blocks: Iterable[Block], *, kept: bool = False) -> None:
        """Store a batch. ``kept`` blocks are on the disk when it returns; others are a cache.
        ``QuotaExceeded`` where they do not fit: then nothing of the batch was stored."""
        ...

    def delete_many(self, cids: Sequence[CID]) -> int:
        """How many there were."""
        ...

    def keys(self) -> Iterator[bytes]:
        """Multihashes, a snapshot in batches; does not hold a reader open between them."""
        ...

    def close(self) -> None: ...


class Exchange(Protocol):
    """Where missing blocks come from: peers, later remote tiers too."""

    def session(self) -> AbstractContextManager[ExchangeSession]:
        """Fetches that belong together: peers that had one block are asked first for the next."""
        ...

    async def announce_have(self, blocks: Sequence[Block]) -> None:
        """These blocks are in the store now: serve the peers, and our own fetches, that wait for them."""
        ...


class ExchangeSession(Protocol):
    """A group of related fetches."""

    def nobody_has(self, cid: CID) -> bool:
        """Whether everybody who was asked for a block that is being fetched has said that they have not got it."""
        ...

    def fetch_many(self, cids: Sequence[CID], *, size_hint: int | None = None) -> AsyncGenerator[Block, None]:
        """Blocks as they come, any order, verified and stored. The caller bounds how many it asks for at once;
        ``size_hint`` is what one is expected to weigh in bytes. Blocks of a CID that another session already wants
        share one fetch. Leaving the iterator cancels the rest."""
        ...


@dataclass(frozen=True, slots=True)
class Provider:
    """A peer that is said to have content, multiaddr texts without ``/p2p`` where it is said to be, and who says so:
    the router's name."""

    peer: PeerID
    addresses: tuple[str, ...] = ()
    source: str = ""


class ContentRouter(Protocol):
    """Who has content, and telling others that we have. Content is named by multihash."""

    @property
    def name(self) -> str:
        """For statistics and ``Provider.source``."""
        ...

    def find_providers(self, multihash: bytes, *, count: int = 20) -> AsyncGenerator[Provider, None]:
        """Providers as they are found, each peer once, until there are ``count`` or nobody else can be asked. Leaving
        the iterator ends the search. Raises nothing where nobody provides; ``PeerUnreachable`` where nobody could be
        asked."""
        ...

    async def provide(self, multihashes: Sequence[bytes]) -> None:
        """Tell that we have these, now. ``PeerUnreachable`` where nobody could be told."""
        ...


class PeerLore(Protocol):
    """What is known of peers from all dealings with them, those of earlier runs too. On the loop; nothing here waits.

    An exchange tells of batches, once a second, not of blocks, and asks when a peer connects or a search begins.
    """

    def measured(self, peer: PeerID) -> tuple[float | None, float | None]:
        """Latency in seconds and throughput in bytes a second, ``None`` before they were measured."""
        ...

    def doubt(self, peer: PeerID) -> float:
        """By how much longer than measured a peer is expected to take since it fails or lies: 1.0 for strangers
        and those known to be good, much more for a liar."""
        ...

    def prefer(self, peers: Sequence[PeerID], multihash: bytes, count: int) -> list[PeerID]:
        """Up to ``count`` of these that there is a reason to ask in a session that began with ``multihash``: they had
        related content, or are known to deliver fast. Strangers are not among them."""
        ...

    def wanted(self, multihash: bytes) -> float:
        """How often a content was searched for lately: of searches that wait, those come first that are most in
        demand."""
        ...

    def on_delivered(self, peer: PeerID, multihash: bytes, size: int) -> None:
        """A batch of ``size`` verified bytes came, for a session that began with ``multihash``."""
        ...

    def on_measured(self, peer: PeerID, latency: float | None, throughput: float | None) -> None:
        """This is how a peer is, or was as it left."""
        ...

    def on_silent(self, peer: PeerID) -> None:
        """A peer did not answer in its time."""
        ...

    def on_lie(self, peer: PeerID) -> None:
        """A peer sent a false block."""
        ...
