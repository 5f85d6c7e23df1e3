"""The DHT as ``provide_lane`` and ``provider`` want it: a walk whose peers are known as they answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ipfs_kit_py.core.errors import PeerUnreachable
from ipfs_kit_py.routing.kad_wire import Message, MessageType
from ipfs_kit_py.routing.keys import kad_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ipfs_kit_py.routing.kad_wire import PeerInfo
    from ipfs_kit_py.routing.kademlia import Kademlia
    from ipfs_kit_py.routing.network_size import NetworkSize


class KademliaAnnouncer:
    """One ``Kademlia``, whose lookups of any kind tell the size of its network."""

    def __init__(self, kademlia: Kademlia, size: NetworkSize, clock: Callable[[], float]) -> None:
        self._kademlia = kademlia

        def learn(target: int, closest: tuple[PeerInfo, ...], _now: float) -> None:
            size.on_closest(target, (kad_key(info.peer.raw) for info in closest), clock())

        kademlia.on_closest = learn

    @property
    def peers(self) -> int:
        """Of the table."""
        return len(self._kademlia.table)

    async def closest_peers(
        self, key: bytes, *, answered: Callable[[PeerInfo], None] | None = None
    ) -> Sequence[PeerInfo]:
        """See ``Announcer``."""
        if not len(self._kademlia.table):
            raise PeerUnreachable(f"no peer of the {self._kademlia.side.name} DHT is known; connect to one first")
        if answered is None:
            return await self._kademlia.closest_peers(key)

        async def ask(info: PeerInfo) -> list[PeerInfo]:
            _answer, closer = await self._kademlia.ask(info, Message(MessageType.FIND_NODE, key))
            answered(info)
            return closer

        async with self._kademlia.place():
            walk = self._kademlia.walk(key, ask, patience=math.inf)  # records belong with the closest, slow ones too
            done = await walk.run()
        self._kademlia.ended(walk, done)
        return done.closest

    async def add_providers_to(self, peers: Iterable[PeerInfo], multihashes: Sequence[bytes]) -> int:
        """See ``Announcer``."""
        return await self._kademlia.add_providers_to(peers, multihashes)
