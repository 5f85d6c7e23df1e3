"""Gateways of tests: honest ones, liars, and what runs a tier over them."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from ipfs_kit_py.core.cid import CID, Block
from ipfs_kit_py.storage.remote.gateway.tier import GatewayTier
from test.remote.archives import archive
from test.remote.loopback import Reply, serving
from test.remote.server import chunks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from test.remote.loopback import Request

RAW = {"Content-Type": "application/vnd.ipld.raw"}
CAR = {"Content-Type": "application/vnd.ipld.car; version=1; order=dfs; dups=n"}


class Honest:
    """A gateway that has ``blocks``, and gives them as archives in the order given here. ``delay``: seconds before each
    answer; ``broken`` makes the archive's body from its bytes; ``archives``: the status where it has none."""

    def __init__(
        self,
        blocks: Iterable[Block],
        *,
        delay: float = 0.0,
        order: Callable[[list[Block]], list[Block]] = list,
        broken: Callable[[bytes], Any] = chunks,
        archives: int = 200,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.blocks = {str(one.cid.to_v1()): one for one in blocks}
        self.requests: list[Request] = []
        self.left = 0
        self._delay = delay
        self._order = order
        self._broken = broken
        self._archives = archives
        self._headers = headers or CAR

    async def __call__(self, request: Request) -> Reply:
        self.requests.append(request)
        try:
            await trio.sleep(self._delay)
        except trio.Cancelled:
            self.left += 1
            raise
        name = request.path.rsplit("/", 1)[1]
        found = self.blocks.get(name)
        if found is None:
            cached = "only-if-cached" in request.headers.get("cache-control", "")
            return Reply(412 if cached else 404, b"not here")
        if request.query["format"] == "raw":
            return Reply(body=bytes(found.data), headers=RAW)
        if self._archives != 200:
            return Reply(self._archives, b"no such format")
        raw = archive(CID.parse(name), self._order(list(self.blocks.values())))
        return Reply(body=self._broken(raw), headers=self._headers)

    def asked(self, form: str) -> list[str]:
        return [
            request.path.rsplit("/", 1)[1] for request in self.requests if request.query.get("format") == form
        ]  # fmt: skip


def liar(blocks: Iterable[Block], *, delay: float = 0.0) -> Honest:
    """Gives other bytes under every name."""
    return Honest([Block(one.cid, b"false" + bytes(one.data)[5:] + b"!") for one in blocks], delay=delay)


def run(handlers: list[Any], work: Callable[[GatewayTier], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            urls = [await stack.enter_async_context(serving(handler)) for handler in handlers]
            tier = GatewayTier(urls, rng=random.Random(1), **options)
            try:
                await work(tier)
            finally:
                await tier.aclose()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.1))


async def all_of(tier: GatewayTier, root: CID) -> list[Block]:
    async with aclosing(tier.get_dag(root)) as blocks:
        return [one async for one in blocks]


async def range_of(tier: GatewayTier, root: CID, start: int, stop: int | None) -> list[Block]:
    async with aclosing(tier.get_range(root, start, stop)) as blocks:
        return [one async for one in blocks]


def by_url(tier: GatewayTier) -> list[Any]:
    """Statistics in the order of the gateways' configuration."""
    return [gateway.statistics(trio.current_time()) for gateway in tier._gateways]
