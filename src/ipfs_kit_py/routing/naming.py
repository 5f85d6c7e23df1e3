"""Publish names, follow them, and keep ours alive: the engine in ``names`` driven over a router."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

import trio

from ipfs_kit_py.core.config import IPNS_LIFETIME_SECONDS, IPNS_MAX_DEPTH, IPNS_TTL_SECONDS
from ipfs_kit_py.core.errors import InvalidAddress, InvalidRecord, IPFSKitError, NotFound, NotSupported
from ipfs_kit_py.core.text import printable
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.routing.names import Names, NamesStatistics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.crypto.ipns import IpnsRecord
    from ipfs_kit_py.crypto.keys import PrivateKey

log = logging.getLogger(__name__)


class Router(Protocol):
    """Where records are kept: the DHT."""

    async def put_value(self, key: bytes, value: bytes) -> None: ...
    async def get_value(self, key: bytes) -> bytes:
        """The best record that was found; ``NotFound`` where there is none."""
        ...


class Records(Protocol):
    """The last record of each name of ours, kept over restarts: a sequence never goes back."""

    async def get(self, name: PeerID) -> bytes | None: ...
    async def put(self, name: PeerID, record: bytes) -> None: ...


class Naming:
    """Names over a router. ``clock`` gives seconds since 1970; ``dnslink`` the path that a domain name leads to."""

    def __init__(
        self,
        router: Router,
        records: Records,
        clock: Callable[[], float],
        *,
        dnslink: Callable[[str], Awaitable[str]] | None = None,
    ) -> None:
        self._router = router
        self._records = records
        self._clock = clock
        self._dnslink = dnslink
        self._names = Names()
        self._keys: dict[PeerID, PrivateKey] = {}
        self._changed = trio.Event()
        self._lock = trio.Lock()  # two publications of one name would take the same sequence

    def statistics(self) -> NamesStatistics:
        """Counters of the engine."""
        return self._names.statistics()

    async def publish(
        self,
        key: PrivateKey,
        value: str,
        *,
        lifetime: float = IPNS_LIFETIME_SECONDS,
        ttl: float = IPNS_TTL_SECONDS,
        v1: bool = True,
    ) -> IpnsRecord:
        """Point the key's name to a path, and keep it so while ``run`` runs. The sequence grows when the path changes.
        Where the router fails the record is kept, is tried again, and the error raised."""
        name = key.peer_id()
        async with self._lock:
            before = await self._before(name)
            sequence = 0 if before is None else before.sequence + (before.value != value)
            raw = ipns.create(key, value, sequence, self._clock(), lifetime=lifetime, ttl=ttl, v1=v1)
            record = ipns.read(raw, name)
            await self._records.put(name, raw)  # first: what the network has seen is never forgotten here
            self._keys[name] = key
            self._names.on_record(name, raw, self._clock())
            await self._send(name, raw)
        return record

    async def _before(self, name: PeerID) -> IpnsRecord | None:
        """Our last record, or where another machine of ours was later, the network's."""
        found = [await self._records.get(name)]
        try:
            found.append(await self._router.get_value(ipns.record_key(name)))
        except IPFSKitError as error:
            log.debug("nothing was found under %s before publishing: %s", name, error)
        good = []
        for raw in filter(None, found):
            try:
                good.append(ipns.read(raw, name))
            except InvalidRecord as error:
                log.warning("a record of our name %s is no good: %s", name, error)
        return max(good, key=lambda record: record.order, default=None)

    async def _send(self, name: PeerID, raw: bytes) -> None:
        try:
            await self._router.put_value(ipns.record_key(name), raw)
        except BaseException:
            self._names.on_failed(name, self._clock())
            raise
        else:
            self._names.on_published(name, self._clock())
        finally:
            self._changed.set()

    async def resolve(self, path: str, *, fresh: bool = False) -> str:
        """The ``/ipfs/`` path that ``/ipns/NAME/path``, ``ipns://NAME/path`` or a name alone leads to.

        ``fresh`` asks the router whatever the cache has. ``NotFound`` where a name has no record or more than
        ``IPNS_MAX_DEPTH`` names lead to each other, ``NotSupported`` for a domain name without ``dnslink``.
        """
        rest = path.removeprefix("ipns://").removeprefix("/ipns/")
        for _step in range(IPNS_MAX_DEPTH):
            name, _slash, below = rest.partition("/")
            target = (await self._step(name, fresh)).rstrip("/")
            whole = f"{target}/{below}" if below else target
            if not whole.startswith("/ipns/"):
                return whole
            rest = whole.removeprefix("/ipns/")
        raise NotFound(f"{printable(path)}: more than {IPNS_MAX_DEPTH} names lead to each other")

    async def _step(self, text: str, fresh: bool) -> str:
        try:
            name = ipns.parse_name(text)
        except InvalidAddress:
            if "." not in text:
                raise
            if self._dnslink is None:
                raise NotSupported(f"{printable(text)} is a domain name, and this node has no DNS for names") from None
            return await self._dnslink(text)
        record = None if fresh else self._names.lookup(name, self._clock())
        if record is None:
            raw = await self._router.get_value(ipns.record_key(name))
            record = self._names.on_record(name, raw, self._clock())
        return record.value

    async def keep(self, key: PrivateKey) -> None:
        """Keep a name alive that was published before this start; nothing where it was not."""
        name = key.peer_id()
        if await self._records.get(name) is not None:
            self._keys[name] = key
            self._names.on_ours(name, self._clock())
            self._changed.set()

    def forget(self, name: PeerID) -> None:
        """Publish a name no more."""
        self._keys.pop(name, None)
        self._names.on_removed(name)

    async def run(self) -> None:
        """Publish our names again, for ever."""
        while True:
            self._changed = trio.Event()
            while (action := self._names.next_action(self._clock())) is not None:
                await self._republish(action.name)
            deadline = self._names.deadline()
            wait = float("inf") if deadline is None else max(0.0, deadline - self._clock())
            with trio.move_on_after(wait):
                await self._changed.wait()

    async def _republish(self, name: PeerID) -> None:
        raw = await self._records.get(name)
        key = self._keys.get(name)
        if raw is None or key is None:
            self.forget(name)
            return
        try:
            record = ipns.read(raw, name)
            await self.publish(key, record.value, ttl=record.ttl, v1=record.has_v1)
        except IPFSKitError as error:
            log.warning("the name %s was not published again: %s", name, error)
            self._names.on_failed(name, self._clock())
