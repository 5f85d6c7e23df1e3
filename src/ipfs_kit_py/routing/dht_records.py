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

    async def load(self) -> None:
        """Take up what was kept. What cannot be read is passed over: others will tell it again."""
        for kademlia in self._sides:
            side, name, now = kademlia.side, kademlia.side.name, trio.current_time()
            kademlia.table.load(await self._rows(f"{name}/table"), now)
            saved = await self._rows(f"{name}/providers")
            age = self._age(saved)
            self._providers[side].load(saved[1:], now - age)
            self._values[side].load(await self._rows(f"{name}/values"), kademlia.network.peer_id, self._clock())

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
        """Save all."""
        for kademlia in self._sides:
            side, name, now = kademlia.side, kademlia.side.name, trio.current_time()
            await self._keeper.save(f"{name}/table", await _encoded(kademlia.table.dump(now)))
            head: list[Any] = [self._clock()]
            rows = self._providers[side].dump(now)
            await self._keeper.save(f"{name}/providers", await _encoded(rows, head))
            await self._keeper.save(f"{name}/values", await _encoded(self._values[side].dump()))


async def _encoded(rows: Iterable[Any], head: Iterable[Any] = ()) -> bytes:
    """The rows as one JSON list, encoded some at a time."""
    parts = [json.dumps(row) for row in head]
    for number, row in enumerate(rows, 1):
        parts.append(json.dumps(row))
        if number % _ROWS == 0:
            await trio.lowlevel.checkpoint()
    return f"[{', '.join(parts)}]".encode()
