"""Building the DHT of a node and what tells it of this node's content, with what both keep in the store."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from ipfs_kit_py.content import fetch as dags
from ipfs_kit_py.core.config import MAX_RECORD_BYTES
from ipfs_kit_py.core.errors import IPFSKitError
from ipfs_kit_py.routing.dht import Dht
from ipfs_kit_py.routing.network_size import NetworkSize
from ipfs_kit_py.routing.provide_dht import KademliaAnnouncer
from ipfs_kit_py.routing.provider import Reprovider
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import trio

    from ipfs_kit_py.core.cid import CID
    from ipfs_kit_py.core.config import NodeConfig
    from ipfs_kit_py.net.swarm import Swarm
    from ipfs_kit_py.storage.base import LocalStore
    from ipfs_kit_py.storage.records import Records

logger = logging.getLogger(__name__)

_SPACE = b"dht"


class StoredParts:
    """A ``Keeper`` over a store's records: what is larger than a record lies in several, the first tells how many."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def load(self, name: str) -> bytes | None:
        """What ``save`` kept."""
        return await threads.run(Pool.WORK, self._load, name)

    async def save(self, name: str, data: bytes) -> None:
        """On the disk when it returns."""
        await threads.run(Pool.WORK, self._save, name, data)

    def _load(self, name: str) -> bytes | None:
        parts: list[bytes] = []
        while (part := self._records.get(_SPACE, _part(name, len(parts)))) is not None:
            parts.append(part)
        return b"".join(parts) if parts else None

    def _save(self, name: str, data: bytes) -> None:
        count = 0
        for count, at in enumerate(range(0, max(1, len(data)), MAX_RECORD_BYTES), 1):
            self._records.put(_SPACE, _part(name, count - 1), data[at : at + MAX_RECORD_BYTES])
        while self._records.delete(_SPACE, _part(name, count)):
            count += 1


def _part(name: str, number: int) -> bytes:
    return f"{name}/{number:06}".encode()


def build_dht(config: NodeConfig, swarm: Swarm, store: LocalStore) -> Dht | None:
    """The DHT as the role or the configuration has it, not running yet; ``None`` where it is switched off. What is
    known of others outlives the process where the node has a repo."""
    mode = config.role_policy.dht_mode
    if mode == "off":
        return None
    keeper = None if config.repo is None else StoredParts(store.records)
    return Dht(swarm, server=mode == "server", keeper=keeper, paths=config.dht_paths)


class Announcing:
    """Tells the DHT of this node's pins, as far as ``provide`` says: ``all``, their ``roots``, or ``none``. ``run`` its
    ``reprovider``."""

    def __init__(self, dht: Dht, store: LocalStore, provide: str, nursery: trio.Nursery) -> None:
        self._store, self._provide, self._nursery = store, provide, nursery
        dhts = {}
        for side in dht.sides:
            size = NetworkSize()
            dhts[side.side.name] = KademliaAnnouncer(side, size, time.time), size
        contents = None if provide == "none" else self._contents
        self.reprovider = Reprovider(dht.sides[0].network.peer_id, dhts, store.records, contents)
        for side in dht.sides:
            side.server.provides = self.reprovider.provides

    def _contents(self) -> Iterator[bytes]:
        """All multihashes to tell of. Reads the store: on a worker thread."""
        for pin in self._store.pins.ls():
            yield pin.cid.multihash
            if self._provide == "all" and pin.recursive:
                yield from dags.reachable(self._store, [pin.cid])

    def on_pins(self, added: Sequence[CID]) -> None:
        """Pins were added, or (none named) removed."""
        if self._provide == "none":
            return
        if not added:
            self.reprovider.resync()
            return
        self.reprovider.add([cid.multihash for cid in added])
        if self._provide == "all":
            self._nursery.start_soon(self._add_whole, added)

    async def _add_whole(self, roots: Sequence[CID]) -> None:
        try:
            self.reprovider.add(await threads.run(Pool.WORK, dags.reachable, self._store, roots))
        except IPFSKitError as error:
            logger.warning("the DHT is told of these pins later: %s", error)
            self.reprovider.resync()
