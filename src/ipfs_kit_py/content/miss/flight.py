"""What the driver of the miss path holds: callers that wait, requests under way, blocks that came."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import trio

from ipfs_kit_py.core.cid import Block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipfs_kit_py.content.miss.origin import Origin
    from ipfs_kit_py.content.miss.race import Race
    from ipfs_kit_py.core.cid import CID
    from ipfs_kit_py.core.errors import IPFSKitError
    from ipfs_kit_py.core.interfaces import ExchangeSession


class Caller:
    """One ``fetch_many``: its race, what it still waits for, and the blocks that came and were not taken yet."""

    def __init__(self, cids: Sequence[CID], race: Race, peers: ExchangeSession | None, size_hint: int | None) -> None:
        self.race = race
        self.peers = peers
        self.size_hint = size_hint
        self.missing: dict[bytes, list[CID]] = {}
        for cid in dict.fromkeys(cids):
            self.missing.setdefault(cid.multihash, []).append(cid)
        self.scopes: set[trio.CancelScope] = set()  # of its fetches from peers
        self._blocks: list[Block] = []
        self._error: IPFSKitError | None = None
        self._woken = trio.Event()

    def take(self, block: Block) -> list[CID]:
        """A block came: keep it under every CID that it was asked for by, and return these."""
        cids = self.missing.pop(block.cid.multihash, [])
        self._blocks += [block if cid == block.cid else Block(cid, block.data) for cid in cids]
        self._woken.set()
        return cids

    def fail(self, error: IPFSKitError) -> None:
        """What is missing will not come."""
        self._error = error
        self._woken.set()

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return not self.missing and not self._blocks

    async def filled(self) -> list[Block]:
        """The blocks that came since the last call; waits for the first. Raises why the rest will not come."""
        while not self._blocks and self._error is None:
            self._woken = trio.Event()
            await self._woken.wait()
        blocks, self._blocks = self._blocks, []
        if not blocks and self._error is not None:
            raise self._error
        return blocks


class Flight:
    """One request for one block of one source, shared by all callers that ask there for it."""

    def __init__(self, origin: Origin, cid: CID) -> None:
        self.origin = origin
        self.cid = cid
        self.callers: set[Caller] = set()
        self.scope = trio.CancelScope()
        self.begun = trio.current_time()


class Arrival(NamedTuple):
    """A block that a request brought in so many seconds, not yet checked; ``settled`` when it is stored or refused."""

    flight: Flight
    block: Block
    seconds: float
    settled: trio.Event
