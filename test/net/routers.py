"""Routers for tests, each a few lines: what they name, when, and how they misbehave."""

from __future__ import annotations

import hashlib
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.errors import NotFound, PeerUnreachable
from ipfs_kit_py.core.interfaces import Provider
from ipfs_kit_py.routing.kad_wire import PeerInfo
from ipfs_kit_py.routing.router import Router

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence

KEY = b"\x12\x20" + bytes(range(32))


def peer(number: int) -> PeerID:
    return PeerID(b"\x12\x20" + hashlib.sha256(b"%d" % number).digest())


def at(number: int, port: int = 4001) -> str:
    return f"/ip4/10.0.{number // 250}.{number % 250 + 1}/tcp/{port}"


def provider(number: int, *texts: str) -> Provider:
    return Provider(peer(number), texts or (at(number),))


class Net:
    """A node's network that knows nobody."""

    peer_id = peer(0)

    def __init__(self, connected: Iterable[int] = ()) -> None:
        self.near = {peer(number) for number in connected}

    def connected(self) -> set[PeerID]:
        return self.near

    def addresses_of(self, peer: PeerID) -> Sequence[object]:
        return ()


class Says:
    """A router that names these, each after so many seconds; ``then`` is raised at the end."""

    def __init__(
        self, name: str, *items: tuple[float, Provider], then: BaseException | None = None, stays: float = 0.0
    ) -> None:
        self.name = name
        self.items, self.then, self.stays = items, then, stays
        self.asked = self.closed = 0
        self.told: list[bytes] = []

    async def find_providers(self, multihash: bytes, *, count: int = 20) -> AsyncGenerator[Provider, None]:
        self.asked += 1
        try:
            for seconds, item in self.items:
                await trio.sleep(seconds)
                yield item
            await trio.sleep(self.stays)
            if self.then is not None:
                raise self.then
        finally:
            self.closed += 1

    async def provide(self, multihashes: Sequence[bytes]) -> None:
        await trio.sleep(self.stays)
        if self.then is not None:
            raise self.then
        self.told += multihashes


class Remembers:
    """A cache."""

    def __init__(self, *known: tuple[bytes, Sequence[Provider]]) -> None:
        self.known = dict(known)
        self.remembered: list[tuple[bytes, list[Provider]]] = []

    def find_cached(self, multihash: bytes) -> Sequence[Provider] | None:
        return self.known.get(multihash)

    def remember(self, multihash: bytes, providers: Sequence[Provider]) -> None:
        self.remembered.append((multihash, list(providers)))


class Book:
    """Where peers are, and values."""

    def __init__(self, **_: object) -> None:
        self.where: dict[PeerID, tuple[str, ...]] = {}
        self.values: dict[bytes, bytes] = {}
        self.sought: list[PeerID] = []

    async def find_peer(self, peer: PeerID) -> PeerInfo:
        self.sought.append(peer)
        await trio.sleep(1)
        if peer not in self.where:
            raise NotFound("nobody knows it")
        return PeerInfo(peer, self.where[peer])

    async def get_value(self, key: bytes) -> bytes:
        await trio.sleep(1)
        return self.values[key]

    async def put_value(self, key: bytes, value: bytes) -> None:
        await trio.sleep(1)
        self.values[key] = value


@asynccontextmanager
async def routed(*far: Any, net: Net | None = None, **options: Any) -> AsyncIterator[Router]:
    """A router while it runs."""
    router = Router(net or Net(), far, **options)
    async with trio.open_nursery() as nursery:
        await nursery.start(router.run)
        yield router
        nursery.cancel_scope.cancel()


async def found(router: Router, **options: Any) -> list[tuple[float, Provider]]:
    """All that a search gives, with the seconds that each took."""
    begun, items = trio.current_time(), []
    async with aclosing(router.find_providers(KEY, **options)) as providers:
        async for item in providers:
            items.append((round(trio.current_time() - begun, 3), item))
    return items


def numbers(items: Iterable[tuple[float, Provider]], upto: int = 100) -> list[int]:
    """Which peers were found."""
    known = {peer(number): number for number in range(upto)}
    return [known[item.peer] for _, item in items]


OFFLINE = PeerUnreachable("nobody is connected")
