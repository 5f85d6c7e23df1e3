"""What the DHT keeps over restarts: whom it knows, and what it keeps for others."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Protocol

import trio

from ipfs_kit_py.core.config import KAD_SAVE_SECONDS
from ipfs_kit_py.core.errors import IPFSKitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ipfs_kit_py.routing.kad_side import Side
    from ipfs_kit_py.routing.kademlia import Kademlia
    from ipfs_kit_py.routing.provider_store import ProviderStore
    from ipfs_kit_py.routing.value_store import ValueStore

logger = logging.getLogger(__name__)

_LAST_SECONDS = 5.0  # for the last writing, when the node ends
_ROWS = 200  # encoded before others get the loop


class Keeper(Protocol):
    """Keeps bytes by name."""

    async def load(self, name: str) -> bytes | None: ...
    async def save(self, name: str, data: bytes) -> None: ...


class DhtRecords:
    """Loads and saves the tables and stores of both DHTs."""

    def __init__(
        self, sides: Sequence[Kademlia], providers: Mapping[Side, ProviderStore], values: Mapping[Side, ValueStore],
        keeper: Keeper, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._sides, self._providers, self._values = sides, providers, values
        self._keeper, self._clock = keeper, clock
        self._saved: dict[str, object] = {}  # how each was when it was loaded or saved last

    async def load(self) -> None:
        """Take up what was kept. What cannot be read is passed over: others will tell it again."""
        for kademlia in self._sides:
            side, name, now = kademlia.side, kademlia.side.name, trio.current_time()
            kademlia.table.load(await self._rows(f"{name}/table"), now)
            saved = await self._rows(f"{name}/providers")
            age = self._age(saved)
            self._providers[side].load(saved[1:], now - age)
            self._values[side].load(await self._rows(f"{name}/values"), kademlia.network.peer_id, self._clock())
        self._saved = self._states()

    def _age(self, saved: list[Any]) -> float:
        """Seconds since provider records were saved; their times are what was left then."""
        try:
            return max(0.0, self._clock() - float(saved[0]))
        except (LookupError, TypeError, ValueError):
            return 0.0

    async def _rows(self, name: str) -> list[Any]:
        data = await self._keeper.load(name)
        try:
            rows = [] if data is None else json.loads(data)
        except ValueError:
            rows = None
        if not isinstance(rows, list):
            logger.warning("what the DHT kept as %s is damaged, and passed over", name)
            return []
        return rows

    async def keep(self) -> None:
        """Save now and then, until cancelled."""
        while True:
            await trio.sleep(KAD_SAVE_SECONDS)
            try:
                await self.save()
            except IPFSKitError as error:
                logger.error("the DHT's records cannot be kept: %s", error)

    async def save_last(self) -> None:
        """Save as the node ends."""
        with trio.move_on_after(_LAST_SECONDS, shield=True):
            try:
                await self.save()
            except IPFSKitError as error:
                logger.error("the DHT's records were not kept: %s", error)

    async def save(self) -> None:
        """Save what has changed: nothing at all, in the life of most commands."""
        for name, state in self._states().items():
            if self._saved.get(name) != state:
                await self._keeper.save(name, await self._encoded(name))
                self._saved[name] = state

    def _states(self) -> dict[str, object]:
        """What tells whether each has changed: whom a table has, and counts of changes."""
        found: dict[str, object] = {}
        for kademlia in self._sides:
            side, name = kademlia.side, kademlia.side.name
            found[f"{name}/table"] = frozenset(kademlia.table.nearest(0, len(kademlia.table)))
            found[f"{name}/providers"] = self._providers[side].changes
            found[f"{name}/values"] = self._values[side].changes
        return found

    async def _encoded(self, name: str) -> bytes:
        """The rows of one of them as they are now."""
        [kademlia] = [one for one in self._sides if name.startswith(f"{one.side.name}/")]
        now = trio.current_time()
        if name.endswith("/table"):
            return await _encoded(kademlia.table.dump(now))
        if name.endswith("/providers"):
            return await _encoded(self._providers[kademlia.side].dump(now), [self._clock()])
        return await _encoded(self._values[kademlia.side].dump())


async def _encoded(rows: Iterable[Any], head: Iterable[Any] = ()) -> bytes:
    """The rows as one JSON list, encoded some at a time."""
    parts = [json.dumps(row) for row in head]
    for number, row in enumerate(rows, 1):
        parts.append(json.dumps(row))
        if number % _ROWS == 0:
            await trio.lowlevel.checkpoint()
    return f"[{', '.join(parts)}]".encode()
