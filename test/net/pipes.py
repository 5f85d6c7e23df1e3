"""Connections between two keys over a pipe in memory, for tests of what runs above and on them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import trio

from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.net.connection import MuxedConnection, SecureConnection, secure
from ipfs_kit_py.net.memory import Link, MemoryNetwork, MemoryStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from ipfs_kit_py.net.connection import StreamHandler

ALICE, BOB = PrivateKey.generate(), PrivateKey.generate()
A, B = "192.0.2.1", "192.0.2.2"


class Raw(NamedTuple):
    """Both ends of a pipe, and the link below."""

    alice: MemoryStream
    bob: MemoryStream
    link: Link


class Pair(NamedTuple):
    """A connection that Alice has dialled, at both ends."""

    alice: MuxedConnection
    bob: MuxedConnection
    link: Link


async def raw_pair(link: Link | None = None) -> Raw:
    """A pipe from A to B."""
    network = MemoryNetwork()
    used = network.link(A, B, link or Link())
    listener = await network.transport(B).listen(f"/ip4/{B}/tcp/4001")
    alice = await network.transport(A).dial(listener.addresses[0])
    return Raw(alice, await listener.accept(), used)


async def secured_pair(raw: Raw) -> tuple[SecureConnection, SecureConnection]:
    """The handshake at both ends."""
    found: dict[str, SecureConnection] = {}

    async def accept() -> None:
        found["bob"] = await secure(raw.bob, BOB, outbound=False, expected=None)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        found["alice"] = await secure(raw.alice, ALICE, outbound=True, expected=BOB.peer_id())
    return found["alice"], found["bob"]


@asynccontextmanager
async def connected(
    bob: Mapping[str, StreamHandler] | None = None,
    alice: Mapping[str, StreamHandler] | None = None,
    link: Link | None = None,
) -> AsyncGenerator[Pair, None]:
    """A running connection; Bob serves the handlers ``bob``, Alice ``alice``. Both are closed at the end."""
    raw = await raw_pair(link)
    first, second = await secured_pair(raw)
    pair = Pair(
        MuxedConnection(first, handler_for=(alice or {}).get),
        MuxedConnection(second, handler_for=(bob or {}).get),
        raw.link,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.alice.run)
        nursery.start_soon(pair.bob.run)
        yield pair
        await pair.alice.close()
        await pair.bob.close()
