"""A whole Filecoin tier with its servers, for tests."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from ipfs_kit_py.storage.remote.filecoin.chain import Chain
from ipfs_kit_py.storage.remote.filecoin.pdp import PdpApi
from ipfs_kit_py.storage.remote.filecoin.pdp_store import OpenDataSet, PdpStore, Terms
from ipfs_kit_py.storage.remote.filecoin.pieces import PieceSource
from ipfs_kit_py.storage.remote.filecoin.tier import FilecoinTier
from test.remote.filecoin_servers import ChainServer, PdpServer
from test.remote.loopback import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from trio.abc import Clock

KEEPER = "0x" + "0a" * 20
TERMS = Terms(KEEPER)


@dataclass
class World:
    """What a test holds: the tier, its provider and store, and the chain where it was asked for."""

    tier: FilecoinTier
    provider: PdpServer
    store: PdpStore
    source: PieceSource
    chain: ChainServer


@asynccontextmanager
async def world(
    provider: PdpServer | None = None,
    *,
    terms: Terms | None = TERMS,
    chain: ChainServer | None = None,
    gateway: Any = None,
    seconds: float = 20.0,
    wait: float = 20.0,
    data_set: OpenDataSet | None = None,
    with_chain: bool = False,
    **options: Any,
) -> AsyncIterator[World]:
    provider = provider or PdpServer()
    rng = random.Random(1)
    chain = chain or ChainServer()
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(provider))
        api = PdpApi(url, rng=rng, token=provider.token, seconds=seconds)
        store = PdpStore(api, terms, workers=0, wait=wait, poll=0.001, data_set=data_set, **options)
        source = PieceSource(url, rng=rng, seconds=seconds, workers=0)
        node = None
        if with_chain:
            node_url = await stack.enter_async_context(serving(chain))
            node = Chain(f"{node_url}/rpc/v1", rng=rng, token=chain.token, seconds=seconds)
        tier = FilecoinTier(gateway=gateway, sources=[source], store=store, chain=node)
        try:
            yield World(tier, provider, store, source, chain)
        finally:
            await tier.aclose()


def run(
    work: Callable[[World], Awaitable[None]],
    provider: PdpServer | None = None,
    clock: Clock | None = None,
    **options: Any,
) -> None:
    async def main() -> None:
        async with world(provider, **options) as found:
            await work(found)

    trio.run(main, clock=clock)
