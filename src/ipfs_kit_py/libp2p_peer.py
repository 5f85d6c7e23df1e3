"""The synchronous node: connect to peers, add, fetch and serve content, open streams, send messages."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipfs_kit_py._peer_lacking import LIVE, PeerLacking
from ipfs_kit_py._peer_routing import PeerRouting
from ipfs_kit_py._portal import NodeThread
from ipfs_kit_py.core.cid import CID, PeerID
from ipfs_kit_py.core.config import NodeConfig
from ipfs_kit_py.core.errors import NotFound
from ipfs_kit_py.tiered_cache import TieredCacheManager

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from ipfs_kit_py.core.interfaces import Stream
    from ipfs_kit_py.storage.base import LocalStore

logger = logging.getLogger(__name__)


class IPFSLibp2pPeer(PeerRouting, PeerLacking):
    """A libp2p peer that exchanges content, started when constructed; a context manager, closed by ``close``.

    ``identity_path``: file of the private key, made where missing, ``~`` expanded; without it the identity lasts as
    long as the object. ``listen_addrs``: multiaddrs, default loopback TCP on a free port. ``bootstrap_peers`` are
    dialled in the background. ``enable_mdns``: peers are looked for on the networks that it listens on, loopback aside.
    ``tiered_storage_manager``: a ``TieredCacheManager``, whose remote tiers are then asked too, or another block store;
    it is closed after the peer. Without one blocks live in memory. ``config`` gives everything else; arguments that are
    not at their defaults come before it. Raises ``ConfigError`` and ``InvalidAddress`` for what cannot be used.
    """

    def __init__(
        self,
        identity_path: str | Path | None = None,
        bootstrap_peers: Sequence[str] | None = None,
        listen_addrs: Sequence[str] | None = None,
        role: str = "leecher",
        enable_mdns: bool = True,
        enable_hole_punching: bool = False,
        enable_relay: bool = False,
        tiered_storage_manager: TieredCacheManager | LocalStore | None = None,
        metadata: dict[str, Any] | None = None,
        *,
        config: NodeConfig | None = None,
    ) -> None:
        for wanted, name in ((enable_hole_punching, "hole punching"), (enable_relay, "relay")):
            if wanted:
                logger.warning("%s is not available in this version; the peer runs without it", name)
        self.metadata = dict(metadata or {})
        self._config = _configured(config or NodeConfig(), role, identity_path, bootstrap_peers, listen_addrs)
        if not enable_mdns:
            self._config = replace(self._config, mdns=False)
        store = tiered_storage_manager
        if isinstance(store, TieredCacheManager):
            self._config = replace(self._config, tiers=self._config.tiers or store.config.tiers)
            store = store.store
        self._thread = NodeThread(self._config, store=store)
        self._node = self._thread.node

    # --- who and where ------------------------------------------------------------------------------------------------

    def get_peer_id(self) -> str:
        """This peer's id as base58 text."""
        return str(self._node.peer_id)

    def get_multiaddrs(self) -> list[str]:
        """Where it can be reached, each with ``/p2p/<id>``."""
        return self._thread.run_sync(self._node.addresses)

    def get_protocols(self) -> list[str]:
        """The protocols that it answers."""
        return self._thread.run_sync(self._node.protocols)

    @property
    def role(self) -> str:
        """The role that it was started with."""
        return self._config.role

    # --- connections --------------------------------------------------------------------------------------------------

    def connect_peer(self, addr: str, timeout: float = 30.0) -> bool:
        """Connect to a multiaddr with ``/p2p/<id>``; ``True``, or ``PeerUnreachable`` saying why not."""
        self._thread.call(self._node.connect, addr, timeout=timeout)
        return True

    def disconnect_peer(self, peer_id: str) -> bool:
        """Close the connection to a peer; whether there was one."""
        return self._thread.call(self._node.disconnect, PeerID.parse(peer_id))

    def is_connected_to(self, peer_id: str) -> bool:
        """Whether a connection to the peer is open."""
        return PeerID.parse(peer_id) in self._thread.run_sync(self._node.peers)

    def peers(self) -> list[str]:
        """Ids of the connected peers."""
        return [str(peer) for peer in self._thread.run_sync(self._node.peers)]

    # --- content ------------------------------------------------------------------------------------------------------

    def add_bytes(self, data: bytes) -> str:
        """Add a file's content, pin it and serve it; returns the root CID."""
        return str(self._thread.call(self._node.add_bytes, data))

    def store_bytes(self, cid: str, data: bytes) -> bool:
        """Store a block, or a file's content under its UnixFS root CID, kept as its blocks.

        ``HashMismatch`` naming the true CID where no known profile makes ``cid`` from ``data``.
        """
        self._thread.call(self._node.store_bytes, CID.parse(cid), data)
        return True

    def get_stored_bytes(self, cid: str) -> bytes | None:
        """What is in the local store under a CID (a file's content for its root), ``None`` where it is not whole."""
        try:
            return self._thread.call(self._node.local_bytes, CID.parse(cid))
        except NotFound:
            return None

    def request_content(self, cid: str, timeout: float = 30) -> bytes:
        """A raw block's bytes or a UnixFS file's content, from the store or straight from peers, verified.

        ``timeout`` in seconds (``TimedOut``); ``NotFound`` where no peer has it.
        """
        return self._thread.call(self._node.read_bytes, cid, timeout=timeout)

    def request_block(self, cid: str, timeout: float = 30) -> bytes:
        """One block's bytes as they are stored."""
        return self._thread.call(self._node.block_get, CID.parse(cid), timeout=timeout)

    def stream_content(self, cid: str) -> Iterator[bytes]:
        """A file's content in order, in pieces, in bounded memory."""
        return map(bytes, self._thread.iterate(lambda: self._node.cat(cid), size=len))

    def receive_streamed_data(
        self, peer_id: str, cid: str, callback: Callable[[bytes], object], timeout: float = 300
    ) -> int:
        """Fetch a file from one peer and call back with each piece in order; returns the number of bytes.

        The peer is asked to make the content ready first (see ``stream_data``); every block is verified.
        """
        peer = PeerID.parse(peer_id)
        self._thread.call(self._node.request_stream, peer, CID.parse(cid), timeout=timeout)
        total = 0
        for piece in self.stream_content(cid):
            callback(piece)
            total += len(piece)
        return total

    def stream_data(self, callback: Callable[[str], Iterable[bytes] | None]) -> None:
        """Make content on demand: when a peer asks for a CID that is not here, ``callback(cid)`` gives its bytes.

        They are served only if they have that CID under a known profile. The callback runs in a thread.
        """
        self._thread.run_sync(self._node.set_content_maker, callback)

    # --- streams and messages -----------------------------------------------------------------------------------------

    def send_message(self, peer_id: str, data: bytes, timeout: float = 30) -> bytes:
        """Send a message and return the other side's reply. ``NotSupported`` where it does not take messages."""
        return self._thread.call(self._node.send_message, PeerID.parse(peer_id), data, timeout=timeout)

    def on_message(self, handler: Callable[[str, bytes], bytes | Awaitable[bytes | None] | None]) -> None:
        """Answer messages: ``handler(peer_id, data)``, sync (in a thread) or async, returns the reply.

        ``peer_id`` is the one that the channel proved.
        """
        self._thread.run_sync(self._node.on_message, handler)

    def register_protocol_handler(self, protocol_id: str, handler: Callable[[Stream], Awaitable[None]]) -> None:
        """Serve a protocol: the async handler runs on the node's loop with each stream that a peer opens."""
        self._thread.run_sync(self._node.handle, protocol_id, handler)

    def open_stream(self, peer_id: str, protocol_id: str, timeout: float = 30) -> SyncStream:
        """A stream to a peer, with synchronous methods."""
        stream = self._thread.call(self._node.open_stream, PeerID.parse(peer_id), [protocol_id], timeout=timeout)
        return SyncStream(self._thread, stream)

    # --- life ---------------------------------------------------------------------------------------------------------

    def get_stats(self) -> dict[str, Any]:
        """Counters of the store, the network and the exchange, and which of the switches are live."""
        stats = asdict(self._thread.call(self._node.statistics))
        layers = (stats["discovery"] or {"layers": ()})["layers"]
        mdns = any(layer["name"] == "mdns" and layer["enabled"] for layer in layers)
        stats["live"] = {**LIVE, "mdns": mdns}
        return stats

    def close(self) -> None:
        """Stop; idempotent."""
        self._thread.close()

    def __enter__(self) -> IPFSLibp2pPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._thread.closed else "open"
        return f"<IPFSLibp2pPeer {self._node.peer_id} {self._config.role} {state}>"


class SyncStream:
    """A stream's methods for threads; a context manager that closes it."""

    def __init__(self, thread: NodeThread, stream: Stream) -> None:
        self._thread = thread
        self._stream = stream

    @property
    def peer_id(self) -> str:
        """The other side, proved by the channel."""
        return str(self._stream.peer_id)

    @property
    def protocol(self) -> str:
        """What the stream speaks."""
        return self._stream.protocol

    def read(self, n: int | None = None, timeout: float | None = None) -> bytes:
        """Up to ``n`` bytes, ``b""`` at the end; without ``n`` everything until the remote half-closes."""
        return self._thread.call(self._stream.read, n, timeout=timeout)

    def write(self, data: bytes, timeout: float | None = None) -> None:
        """Send ``data``."""
        self._thread.call(self._stream.write, data, timeout=timeout)

    def close_write(self) -> None:
        """Half-close: the remote reads an end."""
        self._thread.call(self._stream.close_write)

    def close(self) -> None:
        """Close both halves."""
        self._thread.call(self._stream.close)

    def reset(self) -> None:
        """Drop it at once."""
        self._thread.run_sync(self._stream.reset)

    def __enter__(self) -> SyncStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _configured(
    config: NodeConfig,
    role: str,
    identity_path: str | Path | None,
    bootstrap_peers: Sequence[str] | None,
    listen_addrs: Sequence[str] | None,
) -> NodeConfig:
    """The configuration with the constructor's own arguments in front."""
    changes: dict[str, Any] = {}
    if role != NodeConfig.role:
        changes["role"] = role
    if identity_path is not None:
        changes["identity_path"] = Path(identity_path).expanduser()
    if bootstrap_peers is not None:
        changes["peers"] = tuple(bootstrap_peers)
    if listen_addrs is not None:
        changes["listen"] = tuple(listen_addrs)
    return replace(config, **changes)
