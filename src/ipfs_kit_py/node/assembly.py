"""Building a node: every service, in the order that each needs the one before, and taken down in the opposite order."""

from __future__ import annotations

import fcntl
import logging
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.bitswap.exchange import Bitswap
from ipfs_kit_py.content.miss.misses import Misses
from ipfs_kit_py.content.prefetching import Prefetching
from ipfs_kit_py.content.replicas import Replicas
from ipfs_kit_py.content.source import BlockSource
from ipfs_kit_py.core import log as _log  # noqa: F401 - whatever starts a node logs quietly
from ipfs_kit_py.core.config import (
    MEMORY_ONLY_BYTES,
    TRIM_SECONDS,
    NodeConfig,
    tier_name,
)
from ipfs_kit_py.core.errors import ConfigError, IPFSKitError, NodeDied, NotRunning, StorageError
from ipfs_kit_py.crypto.key_file import load_or_create
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.net.addresses import parse
from ipfs_kit_py.net.swarm import Swarm
from ipfs_kit_py.node.base import Remote
from ipfs_kit_py.node.dht import Announcing, StoredParts, build_dht
from ipfs_kit_py.node.discovering import build_discovery
from ipfs_kit_py.node.naming import build_naming
from ipfs_kit_py.node.node import Node
from ipfs_kit_py.node.reputations import Reputations
from ipfs_kit_py.node.routers import build_finding, build_searches
from ipfs_kit_py.repo import Repo
from ipfs_kit_py.routing.dnslink import DnsLink
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.disk import DiskStore
from ipfs_kit_py.storage.memory import MemoryStore
from ipfs_kit_py.storage.prefetch import Prefetcher
from ipfs_kit_py.storage.remote.build import TierContext, build_tiers
from ipfs_kit_py.storage.shm import SharedMemoryStore
from ipfs_kit_py.storage.threads import Pool
from ipfs_kit_py.storage.tiers import TieredStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from typing import BinaryIO

    from ipfs_kit_py.storage.base import LocalStore
    from ipfs_kit_py.storage.remote.base import RemoteTier

logger = logging.getLogger(__name__)

CLOSE_TIER_SECONDS = 5.0  # connections are closed at once where the other side listens
REPLICATE = "replicate"  # the one key of a tier's table that is the node's: whether pins are copied there


@asynccontextmanager
async def open_node(
    config: NodeConfig | None = None, *, store: LocalStore | None = None, short: bool = False
) -> AsyncIterator[Node]:
    """A running node for the length of an ``async with``, under trio.

    ``store`` takes the place of the configured one and stays open after the node. ``short``: it lives for one
    command, and copies nothing to remote tiers by itself. Raises ``ConfigError`` and ``InvalidAddress`` for what
    cannot be used; ``NodeDied`` where a service of the node ends by a fault of its own.
    """
    config = config or NodeConfig()
    key, lock = await threads.run(Pool.WORK, _identity, config)
    failure: BaseException | None = None
    started = False
    local: LocalStore | None = store
    tiers: list[RemoteTier] = []
    try:
        if local is None:
            local = await threads.run(Pool.WORK, _open_store, config)
        async with trio.open_nursery() as services:
            this = _ThisNode()
            await threads.run(Pool.WORK, _open_tiers, config, this, tiers)
            node = this.node = await _wire(config, key, local, tiers, services, short=short)
            if not short:
                _start(node, services, owns_store=store is None)
            started = True
            try:
                yield node
            except trio.Cancelled:
                raise
            except BaseException as error:  # noqa: BLE001 - the caller's own, raised again below without a group
                failure = error
            services.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _died(group, started=started) from group
    finally:
        if lock is not None:
            lock.close()
        await _close(tiers)
        if store is None and local is not None:
            with trio.CancelScope(shield=True):
                await threads.run(Pool.WORK, local.close)
    if failure is not None:
        raise failure


def _died(group: BaseExceptionGroup[BaseException], *, started: bool) -> BaseException:
    """What to raise for a group: a reason not to start as it is, else ``NodeDied``."""
    leaves: list[BaseException] = []
    stack: list[BaseException] = [group]
    while stack:
        item = stack.pop()
        if isinstance(item, BaseExceptionGroup):
            stack.extend(item.exceptions)
        elif not isinstance(item, trio.Cancelled):
            leaves.append(item)
    if not leaves or any(not isinstance(leaf, Exception) for leaf in leaves):
        return leaves[0] if leaves else group
    if not started and isinstance(leaves[0], IPFSKitError):
        return leaves[0]
    return NodeDied(f"a service of the node ended: {leaves[0]!r}")


def _identity(config: NodeConfig) -> tuple[PrivateKey, BinaryIO | None]:
    """The node's key, and the file that is locked while it is used."""
    if config.identity_path is not None:
        path = config.identity_path
    elif config.repo is not None:
        repo = Repo(config.repo)
        repo.ensure()
        path = repo.identity_path
    else:
        return PrivateKey.generate(), None
    key = load_or_create(path)
    if config.offline or not config.libp2p:
        return key, None  # no peer will see it
    lock = path.expanduser().open("rb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        # A peer that two processes connect to as one would send the blocks of one to the other.
        lock.close()
        key = PrivateKey.generate()
        logger.warning("%s is in use by another node: this one is %s to its peers while it runs", path, key.peer_id())
        return key, None
    return key, lock


def _open_store(config: NodeConfig) -> LocalStore:
    policy = config.role_policy
    if config.repo is None:
        return MemoryStore(min(policy.storage_max, MEMORY_ONLY_BYTES))
    disk = DiskStore(Repo(config.repo).blocks_path, quota=policy.storage_max)
    if not policy.memory_cache:
        return disk
    try:
        memory = (SharedMemoryStore if config.shared_memory else MemoryStore)(policy.memory_cache)
    except BaseException:
        disk.close()
        raise
    return TieredStore(memory, disk)


async def _wire(
    config: NodeConfig, key: PrivateKey, store: LocalStore, tiers: Sequence[RemoteTier], services: trio.Nursery,
    *, short: bool,
) -> Node:  # fmt: skip
    swarm = exchange = dht = announcing = finding = discovery = None
    if config.libp2p and not config.offline:
        path = Repo(config.repo).book_path if config.repo is not None else None
        swarm = Swarm(key, config, book_path=path)
        await services.start(swarm.run)
        dht = build_dht(config, swarm, store)
        if dht is not None:
            await services.start(dht.run)
            if not short:
                announcing = Announcing(dht, store, config.role_policy.provide, services)
                await services.start(announcing.reprovider.run)
        known = Reputations(swarm, None if config.repo is None else StoredParts(store.records))
        await services.start(known.run)
        searches = build_searches(known.providers)
        exchange = Bitswap(
            swarm, store, random.Random(), find_providers=searches.find, on_dialled=searches.on_dialled,
            lore=known.providers,
        )  # fmt: skip
        known.providers.owed = exchange.owed
        await services.start(exchange.run)
        tells = None if announcing is None else announcing.reprovider
        finding = build_finding(swarm, exchange, known.providers, searches, dht=dht, tells=tells)
        await services.start(finding.router.run)
        for peer in filter(None, (parse(text).peer for text in config.peer_addresses)):
            exchange.always_ask(peer)
        discovery = build_discovery(config, swarm, walker=dht, short=short)
        await services.start(discovery.run)
    if not tiers:
        source, remote = BlockSource(store, exchange), None
    else:
        misses = Misses(store, exchange, tiers, random.Random(), on_fetched=store.heat.on_fetched)
        await services.start(misses.run)
        source = BlockSource(store, misses)
        of_pins = _replicating(config, tiers)
        remote = Remote(misses, Replicas(services, source, store, tiers, of_pins, on_stored=misses.forget_absent))
    prefetching = None
    if source.exchange is not None and config.role_policy.prefetch:
        prefetching = Prefetching(source, source.exchange, Prefetcher(config.role_policy.memory_cache))
        await services.start(prefetching.run)
    node = Node(
        config, key, source, store, services, network=swarm, exchange=exchange, remote=remote, prefetching=prefetching,
        dht=dht, announcing=announcing,
    )  # fmt: skip
    node.set_finding(finding)
    node.set_discovery(discovery)
    node.set_routing(None if dht is None or finding is None else finding.router)
    keystore = node.keystore if config.repo is not None else None
    dnslink = None if config.offline else DnsLink()
    node.set_naming(await build_naming(dht, store, keystore, dnslink=dnslink))
    return node


def _start(node: Node, services: trio.Nursery, *, owns_store: bool) -> None:
    """The work that a node does by itself. What concerns the store is for whoever opened it to do."""
    services.start_soon(node.naming.run)
    if not owns_store:
        return
    services.start_soon(_trim, node.store)
    if node.remote is not None:
        services.start_soon(node.remote.replicas.run)


def _replicating(config: NodeConfig, tiers: Sequence[RemoteTier]) -> set[str]:
    """The tiers that get what is pinned: those whose table says ``replicate = true``, and as many of those that do
    not say as the role wants copies beyond this node's own, the first first."""
    told = {tier_name(spec): spec.get(REPLICATE) for spec in config.tiers}
    writable = [tier.name for tier in tiers if "put" in tier.verbs]
    for name, value in told.items():
        if value and name not in writable:
            raise ConfigError(f"tier {name} stores nothing: it cannot have replicate = true")
    chosen = [name for name in writable if told.get(name) is True]
    free = [name for name in writable if told.get(name) is None]
    return {*chosen, *free[: max(0, config.role_policy.replication - 1 - len(chosen))]}


async def _close(tiers: Sequence[RemoteTier]) -> None:
    """Close tiers, each within ``CLOSE_TIER_SECONDS``: what keeps one from it keeps nothing else from closing."""
    for tier in tiers:
        with trio.move_on_after(CLOSE_TIER_SECONDS, shield=True):
            try:
                await tier.aclose()
            except Exception:  # a plug-in's own
                logger.exception("tier %s was not closed", tier.name)


class _ThisNode:
    """Where services that fetch from us find this node, for tiers that are made before it is."""

    node: Node | None = None

    def origins(self) -> list[str]:
        return [] if self.node is None else self.node.addresses()

    async def connect(self, addresses: Sequence[str]) -> None:
        """Dial a service's nodes. One that cannot be reached may still come to us."""
        node = self.node
        if node is None or not node.has_network:
            return
        for address in addresses:
            try:
                await node.connect(address)
            except IPFSKitError as error:
                logger.info("%s of a pinning service cannot be dialled: %s", address, error)


def _open_tiers(config: NodeConfig, this: _ThisNode, made: list[RemoteTier]) -> None:
    """Make the configured remote tiers; none on an offline node. Where one cannot be made, ``made`` has those before
    it."""
    if config.offline or not config.tiers:
        return
    for spec in config.tiers:
        if not isinstance(spec.get(REPLICATE, False), bool):
            raise ConfigError(f"tier {tier_name(spec)}: replicate is true or false, not {spec[REPLICATE]!r}")
    folder = None if config.repo is None else Repo(config.repo).tiers_path
    specs = [{key: value for key, value in spec.items() if key != REPLICATE} for spec in config.tiers]
    context = TierContext(rng=random.Random(), folder=folder, origins=this.origins, connect=this.connect)
    build_tiers(specs, context, made)


async def _trim(store: LocalStore) -> None:
    """Evict in the background, so that those who write seldom have to."""
    while True:
        await trio.sleep(TRIM_SECONDS)
        try:
            await threads.run(Pool.WORK, store.trim)
        except NotRunning:
            return
        except StorageError as error:
            logger.error("the cache cannot be trimmed: %s", error)
