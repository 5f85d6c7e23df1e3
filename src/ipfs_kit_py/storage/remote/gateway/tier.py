"""Trustless gateways as a remote tier: several raced, each block verified as it comes.

    async with aclosing(tier.get_dag(root)) as blocks: ...

Source: specs.ipfs.tech/http-gateways/trustless-gateway; IPIP-402, IPIP-412; gateway-detection (IPIP-280).
"""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING, NoReturn

import trio

from ipfs_kit_py.core.config import API_SECONDS, GATEWAY_FILE_BYTES, GATEWAY_MAX, GATEWAY_RACERS
from ipfs_kit_py.core.errors import (
    ConfigError,
    IPFSKitError,
    LocalError,
    NotSupported,
)
from ipfs_kit_py.core.multihash import IDENTITY
from ipfs_kit_py.storage.remote.archive import collected, completed
from ipfs_kit_py.storage.remote.base import Health, Transient, retried
from ipfs_kit_py.storage.remote.gateway.client import Gateway, NoArchives
from ipfs_kit_py.storage.remote.gateway.racing import race, worst
from ipfs_kit_py.storage.remote.http.client import checked_url
from ipfs_kit_py.storage.remote.intake import Intake, RangeIntake

if TYPE_CHECKING:
    import random
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping, Sequence
    from typing import TypeVar

    from ipfs_kit_py.core.cid import CID, Block
    from ipfs_kit_py.storage.remote.archive import Archive
    from ipfs_kit_py.storage.remote.base import Status
    from ipfs_kit_py.storage.remote.gateway.client import GatewayStatistics

    T = TypeVar("T")


class GatewayTier:
    """The gateways at ``urls``, which ``/ipfs`` is below. ``tokens``: by URL, what is sent to that origin alone.

    ``seconds``: what one block or the beginning of an archive may take with its repetitions, and each
    ``API_PROGRESS_BYTES`` of the rest. ``ConfigError`` for no, too many or unusable URLs.
    """

    verbs = frozenset({"get", "get_dag", "has"})

    def __init__(
        self,
        urls: Sequence[str],
        *,
        rng: random.Random,
        name: str = "gateway",
        tokens: Mapping[str, str] | None = None,
        seconds: float = API_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if not 1 <= len(urls) <= GATEWAY_MAX:
            raise ConfigError(f"a gateway tier takes 1 to {GATEWAY_MAX} gateways, not {len(urls)}")
        secrets = {url.rstrip("/"): token for url, token in (tokens or {}).items()}
        if unknown := secrets.keys() - {url.rstrip("/") for url in urls}:
            raise ConfigError(f"{len(unknown)} of the tokens are for URLs that are not among the gateways")
        self.name = name
        self.seconds = seconds
        self._rng = rng
        self._gateways = [
            Gateway(url, token=secrets.get(url.rstrip("/"), ""), seconds=seconds, tls=tls) for url in urls
        ]

    def __repr__(self) -> str:
        return f"<GatewayTier {', '.join(gateway.url for gateway in self._gateways)}>"

    async def aclose(self) -> None:
        """Close the connections."""
        for gateway in self._gateways:
            await gateway.aclose()

    def statistics(self) -> tuple[GatewayStatistics, ...]:
        """How each gateway has done, in the order in which they would be asked now."""
        now = trio.current_time()
        return tuple(gateway.statistics(now) for gateway in self._ordered(now))

    def _ordered(self, now: float) -> list[Gateway]:
        return sorted(self._gateways, key=lambda gateway: gateway.order(now))

    def _awake(self) -> list[Gateway]:
        """The gateways that may be asked, the best first; ``Transient`` where there are none."""
        now = trio.current_time()
        awake = [gateway for gateway in self._ordered(now) if not gateway.resting(now)]
        if not awake:
            soonest = min(gateway.resting(now) for gateway in self._gateways)
            raise Transient(f"{self.name}: all gateways asked to be left alone", after=soonest)
        return awake

    # --- blocks -------------------------------------------------------------------------------------------------------
    async def get(self, cid: CID) -> bytes:
        """One block, verified: the first that comes. Raises as the Protocol of remote tiers says."""
        cid.check_allowed()
        if cid.multihash[0] == IDENTITY:
            return cid.digest
        return await self._raced(partial(self._block, cid), f"block {cid}")

    async def _block(self, cid: CID, gateway: Gateway) -> bytes:
        data = await gateway.block(cid)
        gateway.delivered(1, len(data))
        return data

    async def has(self, cid: CID) -> bool:
        """Whether a gateway says that it has the block without fetching it from elsewhere: a claim, which ``get``
        checks. False where none says so and one says no; raises where none answers."""
        answers: list[bool] = []
        failures: list[IPFSKitError] = []

        async def ask(gateway: Gateway, scope: trio.CancelScope) -> None:
            try:
                answers.append(await gateway.has(cid))
            except IPFSKitError as error:
                gateway.failed(error)
                failures.append(error)
            if any(answers):
                scope.cancel()

        with trio.move_on_after(self.seconds):
            async with trio.open_nursery() as nursery:
                for gateway in self._awake():
                    nursery.start_soon(ask, gateway, nursery.cancel_scope)
        if not answers:
            raise worst(failures) if failures else Transient(f"{self.name}: no gateway answered for {cid}")
        return any(answers)

    # --- DAGs ---------------------------------------------------------------------------------------------------------
    def get_dag(self, root: CID) -> AsyncGenerator[Block, None]:
        """The blocks of a DAG as they come, parents first, each verified and once; close it when leaving early.

        They come as an archive from the gateway whose first block is verified first; what that lacks, block by block
        from any. Besides what the Protocol says it raises ``InvalidBlock`` and ``NotSupported`` for a block whose links
        cannot be read. Identity CIDs carry their block: they are not among them.
        """
        return self._collect(root, [("dag-scope", "all")], partial(Intake, root))

    def get_range(self, root: CID, start: int = 0, stop: int | None = None) -> AsyncGenerator[Block, None]:
        """The blocks that bytes ``start`` up to ``stop`` (``None``: the end) of a UnixFS file need, as ``get_dag``.

        ``NotAFile`` where the root is something else, ``ConfigError`` for a range that is none."""
        last = "*" if stop is None else str(max(stop - 1, start))
        params = [("dag-scope", "entity"), ("entity-bytes", f"{start}:{last}")]
        return self._collect(root, params, partial(RangeIntake, root, start, stop))

    async def _collect(
        self, root: CID, params: list[tuple[str, str]], make: Callable[[], Intake]
    ) -> AsyncGenerator[Block, None]:
        intake = make()
        if intake.done:
            return
        try:
            gateway, archive, first = await self._raced(
                partial(self._archive, root, params, make), f"archive of {root}", discard=_close
            )
        except NoArchives:
            source = completed(intake, self.get)
        else:
            source = self._read(gateway, archive, first)
        async with aclosing(source) as blocks:
            async for block in blocks:
                yield block

    async def _archive(
        self, root: CID, params: list[tuple[str, str]], make: Callable[[], Intake], gateway: Gateway
    ) -> tuple[Gateway, Archive, list[Block]]:
        archive, first = await gateway.archive(root, params, make())
        return gateway, archive, first

    def _read(self, gateway: Gateway, archive: Archive, first: list[Block]) -> AsyncGenerator[Block, None]:
        def ended(error: IPFSKitError | None) -> None:
            if archive.intake.taken:
                gateway.delivered(archive.intake.passed, archive.intake.taken)
            if isinstance(error, LocalError):
                raise error  # the DAG itself cannot be read
            if error is None and not archive.intake.done:
                error = Transient(f"{gateway.url}: an archive ended early")
            if error is not None:
                gateway.failed(error)

        return collected(archive, self.get, ended, first)

    # --- races --------------------------------------------------------------------------------------------------------
    async def _raced(
        self,
        attempt: Callable[[Gateway], Awaitable[T]],
        what: str,
        discard: Callable[[T], Awaitable[None]] | None = None,
    ) -> T:
        async def timed(gateway: Gateway) -> T:
            started = trio.current_time()
            try:
                result = await attempt(gateway)
            except LocalError:
                raise  # of what the DAG is, not of the gateway
            except IPFSKitError as error:
                gateway.failed(error)
                raise
            gateway.latency.measured(trio.current_time() - started)
            return result

        async def once() -> T:
            awake = self._awake()
            return await race(awake, timed, lead=_leads(awake), most=GATEWAY_RACERS, discard=discard)

        return await retried(once, self._rng, seconds=self.seconds, what=f"{self.name}: {what}")

    # --- what gateways have not ---------------------------------------------------------------------------------------
    async def put(self, root: CID, blocks: AsyncIterable[Block], *, label: str = "") -> Status:
        self._refuse("put")

    async def remove(self, root: CID) -> None:
        self._refuse("remove")

    async def status(self, root: CID) -> Status:
        self._refuse("status")

    def _refuse(self, verb: str) -> NoReturn:
        raise NotSupported(f"{self.name}: gateways only give what they have: there is no {verb}")

    async def health(self) -> Health:
        """Whether one of the gateways answers; ``detail`` says which do not."""
        found: list[Health] = []

        async def ask(gateway: Gateway) -> None:
            with trio.move_on_after(self.seconds) as scope:
                found.append(await gateway.health())
            if scope.cancelled_caught:
                found.append(Health(False, self.seconds, f"{gateway.url} does not answer"))

        async with trio.open_nursery() as nursery:
            for gateway in self._gateways:
                nursery.start_soon(ask, gateway)
        well = [health for health in found if health.ok]
        ill = "; ".join(health.detail for health in found if not health.ok)
        seconds = min(health.seconds for health in well or found)
        count = f"{len(well)} of {len(found)} gateways answer"
        return Health(bool(well), seconds, f"{count}; {ill}" if ill else count)


def _leads(awake: Sequence[Gateway]) -> Callable[[Gateway], float]:
    """How long each is waited for before the next is asked: a known liar only where all before it have failed."""
    now = trio.current_time()
    last = next((one for one, after in pairwise(awake) if after.is_behind(now)), None)
    return lambda gateway: inf if gateway is last or gateway.is_behind(now) else gateway.latency.lead


async def _close(opened: tuple[Gateway, Archive, list[Block]]) -> None:
    await opened[1].aclose()


def configured_gateways(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The URLs of the gateways that the user of this machine prefers, none where nothing says so; reads files.

    The first place that names a usable one: ``IPFS_GATEWAY`` (several with spaces between), the files
    ``$IPFS_PATH/gateway``, ``$HOME/.ipfs/gateway``, ``$XDG_CONFIG_HOME/ipfs/gateway``, ``$HOME/.config/ipfs/gateway``,
    ``/etc/ipfs/gateway`` (one a line). Source: specs.ipfs.tech/http-gateways/gateway-detection.
    """
    if found := _usable(environ.get("IPFS_GATEWAY", "").split()):
        return found
    for variable, below in _PLACES:
        folder = environ.get(variable) if variable else "/etc"
        if folder and (found := _usable(_lines(f"{folder}/{below}"))):
            return found
    return ()


_PLACES = (
    ("IPFS_PATH", "gateway"),
    ("HOME", ".ipfs/gateway"),
    ("XDG_CONFIG_HOME", "ipfs/gateway"),
    ("HOME", ".config/ipfs/gateway"),
    ("", "ipfs/gateway"),
)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(GATEWAY_FILE_BYTES).split()
    except OSError:
        return []


def _usable(urls: list[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for url in urls:
        try:
            checked_url(url)
        except ConfigError:
            continue
        found[url.rstrip("/")] = None
    return tuple(found)[:GATEWAY_MAX]
