"""One lookup driven over the network: the engine of ``lookup`` says whom to ask, this asks.

What is found on the way (providers, values) is handed out as it comes. No peer is dialled at an address that the one
who named it could not know to be of use to us.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import trio

from ipfs_kit_py.core.config import KAD_ASK_SECONDS
from ipfs_kit_py.core.errors import IPFSKitError
from ipfs_kit_py.routing.lookup import Ask, Done

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.routing.kad_wire import PeerInfo
    from ipfs_kit_py.routing.lookup import Lookup

AskFunction: TypeAlias = "Callable[[PeerInfo], Awaitable[Sequence[PeerInfo]]]"


class Walk:
    """Drives one ``Lookup``. ``ask(info)`` asks a peer and returns whom it knows closer; what it raises of
    ``IPFSKitError`` is a failure of that peer. ``late`` is told of each that had its time and did not answer."""

    def __init__(self, lookup: Lookup, ask: AskFunction, *, late: Callable[[PeerID], None]) -> None:
        self.lookup = lookup
        self._ask, self._late = ask, late
        self._news = trio.Event()

    async def run(self) -> Done:
        """Walk to the end. Requests that are still under way then are given up."""
        async with trio.open_nursery() as nursery:
            while True:
                match self.lookup.next_action(trio.current_time()):
                    case Ask() as ask:
                        nursery.start_soon(self._ask_one, ask)
                    case Done() as done:
                        nursery.cancel_scope.cancel()
                        return done
                    case None:
                        await self._wait()
        raise AssertionError("a nursery that swallowed its own end")

    def stop(self) -> None:
        """Enough was found: end with what is known."""
        self.lookup.stop()
        self._news.set()

    async def _wait(self) -> None:
        deadline = self.lookup.deadline()
        with trio.move_on_at(trio.current_time() + KAD_ASK_SECONDS if deadline is None else deadline):
            await self._news.wait()
        self._news = trio.Event()
        self.lookup.on_timeout(trio.current_time())

    async def _ask_one(self, ask: Ask) -> None:
        begun, ended = trio.current_time(), False
        try:
            closer = await self._ask(ask.info)
            ended = True
            self.lookup.on_answer(ask.peer, closer, trio.current_time())
        except IPFSKitError:
            ended = True
            self.lookup.on_failure(ask.peer, trio.current_time())
        finally:  # not ended where the lookup has ended meanwhile
            if not ended and trio.current_time() >= begun + ask.timeout:
                self._late(ask.peer)
            self._news.set()
