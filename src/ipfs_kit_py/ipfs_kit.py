"""The kit: Kubo's verbs for synchronous programs, a filesystem, and peers when they are wanted.

Without peers it works on its tiers: memory, disk, and the remote ones that are configured.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipfs_kit_py._backend import Backend, running_daemon
from ipfs_kit_py._kit_verbs import KitVerbs
from ipfs_kit_py._portal import NodeThread
from ipfs_kit_py.core.config import NodeConfig
from ipfs_kit_py.core.errors import ConfigError, NotRunning
from ipfs_kit_py.ipfs_fsspec import IPFSFileSystem
from ipfs_kit_py.libp2p.p2p_integration import LibP2PIntegration, register_libp2p_with_ipfs_kit
from ipfs_kit_py.libp2p_peer import IPFSLibp2pPeer
from ipfs_kit_py.repo import Repo, default_path, field_value
from ipfs_kit_py.verbs.on_node import OnNode

if TYPE_CHECKING:
    from collections.abc import Mapping

_CACHE = {"memory_cache_size": "memory_cache", "local_cache_size": "storage_max", "local_cache_path": "repo"}
_FIELDS = frozenset(item.name for item in fields(NodeConfig)) - {"libp2p", "offline"}
_OWN = frozenset({"daemon", "libp2p"})
_OF_THE_NETWORK = ("id", "swarm/", "routing/", "name/", "key/")  # verbs of whoever has the peers
_NEED_PEERS = ("swarm/", "routing/")


class KitNode(Backend):
    """A node of this process without a network of its own, and the peer that was registered with it."""

    def __init__(self, config: NodeConfig) -> None:
        self.node_thread = NodeThread(config)
        super().__init__(self.node_thread, OnNode(self.node_thread.node))
        self.integration: LibP2PIntegration | None = None

    def performer(self, verb: str) -> OnNode:
        """The peer's node for what is of the network, the kit's own for the rest."""
        peer = None if self.integration is None else self.integration.libp2p_peer.node_thread
        if peer is not None and peer.is_here and verb.startswith(_OF_THE_NETWORK):
            return OnNode(peer.node)
        if verb.startswith(_NEED_PEERS):
            raise NotRunning(
                f"{verb.replace('/', ' ')} needs a libp2p peer: get one with kit.get_filesystem(use_libp2p=True) or "
                "kit.enable_libp2p(), or bring one with register_libp2p_with_ipfs_kit(kit, peer)"
            )
        return OnNode(self.node_thread.node)

    def reading(self) -> AbstractContextManager[None]:
        """What one verb reads from peers counts as one cache miss."""
        lent = None if self.integration is None else self.integration.lent
        return nullcontext() if lent is None else lent.reading()


class ipfs_kit(KitVerbs):
    """An IPFS node for synchronous programs, started when constructed; a context manager, closed by ``close``.

    ``resources``, all optional: the fields of ``NodeConfig`` (``repo``, ``role``, ``tiers``, ``peers``, ``listen``,
    ``storage_max`` …; docs/reference), a cache's ``memory_cache_size`` and ``local_cache_size`` in bytes and
    ``local_cache_path``; ``daemon`` (``True``: use the daemon that runs on the repo) and ``libp2p`` (``False``: whether
    to start with a peer). Without ``repo`` it is ``$IPFS_KIT_PATH`` or ``~/.ipfs-kit``, made on first use; ``None``
    keeps everything in memory. ``metadata``: ``role`` and ``ipfs_path`` (the repo) may stand there too; the rest is the
    caller's own. Raises ``ConfigError`` and ``InvalidAddress`` for what cannot be used.
    """

    def __init__(self, resources: Mapping[str, Any] | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        self.resources = dict(resources or {})
        self.metadata = dict(metadata or {})
        self._config = _configured(self.resources, self.metadata)
        self._own_peer: IPFSLibp2pPeer | None = None
        self._enabling = threading.Lock()
        self._integration: LibP2PIntegration | None = None
        found = running_daemon(self._config) if self.resources.get("daemon", True) else None
        self._backend: Backend = KitNode(self._config) if found is None else found
        if self.resources.get("libp2p") and found is None:
            try:
                self.enable_libp2p()
            except BaseException:
                self.close()
                raise

    # --- peers --------------------------------------------------------------------------------------------------------

    @property
    def node_thread(self) -> NodeThread:
        """Where the faces of this package call the kit's node; a kit that used a daemon has one of its own from then
        on, on the same repo."""
        return self._node().node_thread

    def _node(self) -> KitNode:
        if isinstance(self._backend, KitNode):
            return self._backend
        self._backend.close()
        self._backend = found = KitNode(self._config)
        return found

    @property
    def on_daemon(self) -> bool:
        """Whether the verbs go to a daemon, which has peers of its own."""
        return not isinstance(self._backend, KitNode)

    @property
    def libp2p_peer(self) -> Any:
        """The peer that is registered, ``None`` without one."""
        return None if self._integration is None else self._integration.libp2p_peer

    @property
    def libp2p_integration(self) -> LibP2PIntegration | None:
        """What fetches through the peer, with its counters; ``None`` without a peer."""
        return self._integration

    def attach(self, integration: LibP2PIntegration) -> None:
        """Use the peer of this integration from now on; called when one is made for this kit."""
        self._integration = self._node().integration = integration

    def detach(self) -> None:
        """Use no peer; one that the kit had made is closed. Called before another is registered."""
        if self._integration is not None:
            self._integration.stop()
        self._integration = self._node().integration = None
        if self._own_peer is not None:
            self._own_peer.close()
            self._own_peer = None

    def enable_libp2p(self) -> LibP2PIntegration:
        """Have a peer: the registered one, else one of the kit's own, over its store, with the identity of its repo and
        what ``resources`` say of listening and peers. Idempotent."""
        with self._enabling:
            return self._enabled()

    def _enabled(self) -> LibP2PIntegration:
        if self._integration is not None and self._integration.libp2p_peer.node_thread.is_here:
            return self._integration
        store = self._node().node_thread.node.store
        peer = IPFSLibp2pPeer(config=replace(self._config, libp2p=True, tiers=()), tiered_storage_manager=store)
        try:
            integration = register_libp2p_with_ipfs_kit(self, peer)
        except BaseException:
            peer.close()
            raise
        self._own_peer = peer
        return integration

    # --- the filesystem -----------------------------------------------------------------------------------------------

    def get_filesystem(self, use_libp2p: bool | None = None, **options: Any) -> IPFSFileSystem:
        """The content as files, for ``fsspec`` and all that takes its filesystems.

        ``use_libp2p``: fetch what is missing from peers too, with a peer that is made when there is none; where it is
        not said, a peer is used if there is one. (On a daemon its peers are used in any case.) ``options`` are those of
        ``IPFSFileSystem``: ``writable=True`` for a tree that can be changed.
        """
        if use_libp2p and not self.on_daemon:
            self.enable_libp2p()
        return IPFSFileSystem.on_backend(self._backend, **{**self._told_to_others(), **options})

    def _told_to_others(self) -> dict[str, Any]:
        """How a filesystem in another process finds the same content."""
        config = self._config
        peer = self._integration.libp2p_peer.node_thread if self._integration is not None else None
        here = peer.run_sync(peer.node.addresses) if peer is not None and peer.is_here else []
        return {
            "repo": None if config.repo is None else str(config.repo),
            "role": config.role,
            "peers": [*config.peers, *here],
            "bootstrap": list(config.bootstrap),
            "tiers": [dict(spec) for spec in config.tiers],
        }

    # --- life ---------------------------------------------------------------------------------------------------------

    def get_stats(self) -> dict[str, Any]:
        """``node``: counters of store, tiers, network and exchange; ``libp2p``: those of ``LibP2PIntegration``,
        ``None`` without a peer; ``live``: which of the peer's switches are; ``daemon``: whether one answers."""
        peer = self.libp2p_peer
        return {
            "node": self._backend.row("stats"),
            "libp2p": None if self._integration is None else self._integration.get_stats(),
            "live": peer.get_stats()["live"] if isinstance(peer, IPFSLibp2pPeer) and peer.node_thread.is_here else {},
            "daemon": self.on_daemon,
        }

    def close(self) -> None:
        """Stop; idempotent. A peer that was registered is its owner's to close."""
        if self._integration is not None:
            self._integration.stop()
        if self._own_peer is not None:
            self._own_peer.close()
        self._backend.close()

    def __enter__(self) -> ipfs_kit:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ipfs_kit {self._backend!r}>"


def _configured(resources: Mapping[str, Any], metadata: Mapping[str, Any]) -> NodeConfig:
    unknown = [key for key in resources if key not in _FIELDS and key not in _CACHE and key not in _OWN]
    if unknown:
        known = ", ".join(sorted(_FIELDS | _OWN | set(_CACHE)))
        raise ConfigError(f"resources have no {unknown[0]!r}; there are {known}")
    values = {_CACHE.get(key, key): value for key, value in resources.items() if key not in _OWN}
    if "role" in metadata:
        values.setdefault("role", metadata["role"])
    path = values.pop("repo", metadata.get("ipfs_path", default_path()))
    if not isinstance(path, str | Path | None):
        raise ConfigError(f"repo is a folder, or None for none, not {path!r}")
    values = {name: field_value(name, value) for name, value in values.items() if value is not None}
    if path is None:
        return NodeConfig(libp2p=False, **values)
    return Repo(path).config(libp2p=False, **values)
