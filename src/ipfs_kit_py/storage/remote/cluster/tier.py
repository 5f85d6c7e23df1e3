"""An IPFS Cluster as a remote tier: DAGs kept by several peers of its own choice, and watched by it.

A DAG is put as an archive, which the cluster hands to the peers it allots, or pinned by its root alone. It is safe when
as many peers as were asked for say that they have pinned it; that the cluster took an order means nothing yet. Blocks
come back through a Kubo, a cluster's proxy of one, or gateways, where such are configured. Source: ipfscluster.io,
ipfs-cluster 1.1.6.
"""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.config import POLL_MAX_SECONDS, POLL_SECONDS
from ipfs_kit_py.core.errors import BackendError, ConfigError, IPFSKitError, NotFound, NotSupported
from ipfs_kit_py.storage.remote.archive_body import ArchiveBody
from ipfs_kit_py.storage.remote.base import Health, Status, retried
from ipfs_kit_py.storage.remote.cluster.answers import EVERYWHERE, PinOptions
from ipfs_kit_py.storage.remote.http.client import NoConnection

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, AsyncIterable

    from ipfs_kit_py.core.cid import CID, Block
    from ipfs_kit_py.storage.remote.base import RemoteTier
    from ipfs_kit_py.storage.remote.cluster.answers import Allocation, PinMap
    from ipfs_kit_py.storage.remote.cluster.api import ClusterApi

# What goes on; a peer that was allotted a pin calls it unpinned until word of it has come there.
_PENDING = ("pinning", "pin_queued", "queued", "unpinned", "unpinning", "unpin_queued")
_NO_WORD = "no answer"


class ClusterTier:
    """The cluster that ``api`` speaks for. ``options``: how its pins are wanted. ``reader`` gives blocks; without one
    the tier has no ``get`` and ``get_dag``. ``wait``: for how many seconds ``put`` waits for its peers; what is not
    safe by then goes on. ``poll``: the first pause between questions, in seconds; it doubles. It closes what it was
    given."""

    def __init__(
        self,
        api: ClusterApi,
        *,
        rng: random.Random,
        name: str = "ipfs_cluster",
        options: PinOptions | None = None,
        reader: RemoteTier | None = None,
        wait: float = 60.0,
        poll: float = POLL_SECONDS,
    ) -> None:
        if not wait >= 0:
            raise ConfigError(f"the wait for a cluster is at least 0 seconds, not {wait}")
        self.api = api
        self.name = name
        self._rng = rng
        self._options = options or PinOptions()
        self._reader = reader
        self._wait = wait
        self._poll = poll

    def __repr__(self) -> str:
        return f"<ClusterTier {self.name} at {self.api.base}>"

    @property
    def verbs(self) -> frozenset[str]:
        own = frozenset({"has", "put", "remove", "status"})
        return own if self._reader is None else own | (self._reader.verbs & {"get", "get_dag"})

    async def aclose(self) -> None:
        """Close the connections, those of the reader too."""
        await self.api.aclose()
        if self._reader is not None:
            await self._reader.aclose()

    # --- reading ------------------------------------------------------------------------------------------------------
    def _reading(self) -> RemoteTier:
        if self._reader is None:
            raise NotSupported(f"{self.name} gives no blocks: configure a kubo, proxy or gateway for it to read from")
        return self._reader

    async def get(self, cid: CID) -> bytes:
        """One block, verified, from the reader."""
        return await self._reading().get(cid)

    async def get_dag(self, root: CID) -> AsyncGenerator[Block, None]:
        """The blocks of a DAG as they come, each verified, from the reader; close it when leaving early."""
        async with aclosing(self._reading().get_dag(root)) as blocks:
            async for block in blocks:
                yield block

    async def has(self, cid: CID) -> bool:
        """Whether a peer has pinned the DAG below this root, or the reader says that it holds the block."""
        if (await self.api.status(cid)).pinned:
            return True
        return self._reader is not None and "has" in self._reader.verbs and await self._reader.has(cid)

    # --- keeping ------------------------------------------------------------------------------------------------------
    async def put(self, root: CID, blocks: AsyncIterable[Block], *, label: str = "") -> Status:
        """Upload a whole DAG and have it pinned, by the name ``label`` where there is one.

        ``HashMismatch`` for a block that is not what its CID names, ``InvalidBlock`` where one lacks: nothing is pinned
        then. ``BackendError`` where the cluster or its trailer says that it failed.
        """
        body = ArchiveBody(root, blocks)
        try:
            found = await self.api.add(body, self._options, label=label)
        except NoConnection:  # nothing of the blocks was read
            await retried(self.api.version, self._rng, seconds=self.api.seconds, what=f"{self.name}: version")
            found = await self.api.add(body, self._options, label=label)
        if found.multihash != root.multihash:
            raise BackendError(f"{self.name}: put {root}, it pinned {found}")
        return await self._settled(root)

    async def pin(self, root: CID, *, label: str = "") -> Status:
        """Have the cluster fetch a DAG from whoever has it, and keep it."""
        await self.api.pin(root, self._options, label=label)
        return await self._settled(root)

    async def _settled(self, root: CID) -> Status:
        """The status when it is safe or nothing goes on any more, or as it is when the wait is over."""
        pause = self._poll
        found = await self.status(root)
        with trio.move_on_after(self._wait):
            while not found.safe and found.state in (*_PENDING, _NO_WORD):  # word of a pin takes a moment to all peers
                await trio.sleep(pause)
                pause = min(2 * pause, POLL_MAX_SECONDS)
                found = await self.status(root)
        return found

    async def remove(self, root: CID) -> None:
        """Unpin a DAG. No error where it was not pinned."""
        with suppress(NotFound):
            await self.api.unpin(root)

    async def recover(self, root: CID) -> Status:
        """Have peers where it failed try again: how it stands then."""
        return self._status(await self.api.allocation(root), await self.api.recover(root))

    async def status(self, root: CID) -> Status:
        """How a DAG stands: ``safe`` where as many peers have pinned it as its replication wants at least, and as this
        tier does. ``detail`` has every peer that shall have it: its state, and what failed there."""
        return self._status(await self.api.allocation(root), await self.api.status(root))

    def _status(self, wanted: Allocation, found: PinMap) -> Status:
        peers = {peer: one for peer, one in found.peers.items() if one.state != "remote"}
        missing = set(wanted.peers) - peers.keys()
        detail = {peer: f"{one.state}: {one.error}" if one.error else one.state for peer, one in peers.items()}
        detail |= dict.fromkeys(sorted(missing), _NO_WORD)
        states = Counter(one.state for one in peers.values())
        pinned = states["pinned"]
        everywhere = wanted.least == EVERYWHERE or self._options.least == EVERYWHERE
        least = len(found.peers) if everywhere else max(wanted.least, self._options.least)
        least = max(least, 1)
        if wanted.expires:
            detail["expires"] = wanted.expires
        return Status(found.cid, self._state(states, pinned >= least), pinned >= least, pinned, least, detail)

    def _state(self, states: Counter[str], safe: bool) -> str:
        """One word for all peers: ``pinned`` where enough are, else what still goes on, else what is wrong."""
        if safe:
            return "pinned"
        for state in _PENDING:
            if states[state]:
                return state
        wrong = [state for state, _count in states.most_common() if state != "pinned"]
        return wrong[0] if wrong else _NO_WORD

    # --- itself -------------------------------------------------------------------------------------------------------
    async def health(self) -> Health:
        """Whether the peer that is asked answers and takes the credentials; ``detail`` is its version."""
        started = trio.current_time()
        try:
            version = await self.api.version()
        except IPFSKitError as error:
            return Health(False, trio.current_time() - started, str(error))
        return Health(True, trio.current_time() - started, f"ipfs-cluster {version}")
