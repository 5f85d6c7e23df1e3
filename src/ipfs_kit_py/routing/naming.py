"""Publish names, follow them, and keep ours alive: the engine in ``names`` driven over a router."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

import trio

from ipfs_kit_py.core.config import IPNS_LIFETIME_SECONDS, IPNS_MAX_DEPTH, IPNS_PARALLEL, IPNS_TTL_SECONDS
from ipfs_kit_py.core.errors import InvalidAddress, InvalidRecord, IPFSKitError, NotFound, NotSupported, StorageError
from ipfs_kit_py.core.text import printable
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.routing.kept_names import Kept, Mark
from ipfs_kit_py.routing.names import Names, NamesStatistics, interval
from ipfs_kit_py.routing.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

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
    """What is kept of each name of ours over restarts, as ``Kept`` encodes it: a sequence never goes back."""

    async def get(self, name: PeerID) -> bytes | None: ...
    async def swap(self, name: PeerID, old: bytes | None, new: bytes) -> bool:
        """Put ``new`` where ``old`` still is, whoever else puts; whether it was."""
        ...


class Marks(Protocol):
    """How new the records were that were seen, kept over restarts: nobody goes back."""

    async def load(self) -> list[tuple[PeerID, Mark]]: ...
    async def save(self, changes: Mapping[PeerID, Mark | None]) -> None:
        """``None``: to be forgotten."""
        ...


class Naming:
    """Names over a router. ``clock`` gives seconds since 1970; ``dnslink`` the path that a domain name leads to;
    ``keys`` the keys whose names ``run`` keeps alive from the start. Nothing is read before it is needed."""

    def __init__(
        self,
        router: Router,
        records: Records,
        clock: Callable[[], float],
        *,
        marks: Marks | None = None,
        dnslink: Callable[[str], Awaitable[str]] | None = None,
        keys: Callable[[], Awaitable[Iterable[PrivateKey]]] | None = None,
    ) -> None:
        self._router = router
        self._records = records
        self._clock = clock
        self._marks = marks
        self._dnslink = dnslink
        self._keys_there = keys
        self._restoring = trio.Lock()
        self._restored = marks is None
        self._names = Names()
        self._keys: dict[PeerID, PrivateKey] = {}
        self._changed = trio.Event()
        self._turns = Turns()  # two publications of one name would take the same sequence

    def statistics(self) -> NamesStatistics:
        """Counters of the engine."""
        return self._names.statistics()

    async def _restore(self) -> None:
        """Remember, once, how new the records were that were seen before this start."""
        if self._restored:
            return
        async with self._restoring:
            if self._marks is None or self._restored:
                return
            try:
                self._names.on_marks(await self._marks.load(), self._clock())
            except StorageError as error:
                log.warning("how new names were before this start is not known: %s", error)
            self._restored = True

    # --- publish ------------------------------------------------------------------------------------------------------
    async def publish(
        self,
        key: PrivateKey,
        value: str,
        *,
        lifetime: float = IPNS_LIFETIME_SECONDS,
        ttl: float | None = None,
        v1: bool = True,
        offline: bool = False,
    ) -> IpnsRecord:
        """Point the key's name to a path, and keep it so while ``run`` runs. The sequence grows when the path changes,
        or where the same one would end earlier than before.

        ``ttl`` is at most the lifetime, and without it as usual. Where the router fails the record is kept and tried
        again, and the error raised, or with ``offline`` not. ``InvalidRecord`` for values and times that cannot be.
        """
        if ttl is not None and ttl > lifetime:
            raise InvalidRecord(f"a TTL of {ttl:g} s is longer than the lifetime of {lifetime:g} s")
        ttl = min(IPNS_TTL_SECONDS, lifetime) if ttl is None else ttl
        name = key.peer_id()
        await self._restore()
        async with self._turns.of(name) as turn:
            raw, kept = b"", False
            while not kept:  # another process of this repo may publish the name at the same moment
                known, before, now = await self._records.get(name), await self._before(name), self._clock()
                sequence = self._sequence(name, before, value, now + lifetime)
                raw = ipns.create(key, value, sequence, now, lifetime=lifetime, ttl=ttl, v1=v1)
                # before it is sent: what others have seen is not forgotten
                kept = await self._records.swap(name, known, Kept(raw, lifetime).encode())
            if not turn.gone:
                self._keys[name] = key
                self._names.on_ours(name, now, lifetime)
            try:
                await self._send(name, Kept(raw, lifetime))
            except BaseException as error:
                self._names.on_failed(name, self._clock())
                if not (offline and isinstance(error, IPFSKitError)):
                    raise
                log.info("the name %s is kept here and published when it can be: %s", ipns.name_text(name), error)
        return ipns.read(raw, name)

    def _sequence(self, name: PeerID, before: IpnsRecord | None, value: str, ends: float) -> int:
        """Such that the new record is newer than all that were seen."""
        mark = self._names.mark(name, self._clock())
        if before is None:
            return 0 if mark is None else mark.sequence + 1
        newest = max(Mark(*before.order[:2]), mark or Mark(0, 0))
        same = newest.sequence == before.sequence and before.value == value and before.expires <= ends
        return newest.sequence + (not same)

    async def _before(self, name: PeerID) -> IpnsRecord | None:
        """Our last record, or where another machine of ours was later, the network's."""
        kept, cached = await self._kept(name), self._names.known(name)
        found = [None if kept is None else kept.raw, None if cached is None else cached.raw]
        try:
            found.append(await self._router.get_value(ipns.record_key(name)))
        except IPFSKitError as error:
            log.debug("nothing was found under %s before publishing: %s", ipns.name_text(name), error)
        good = []
        for raw in filter(None, found):
            try:
                good.append(ipns.read(raw, name))
            except InvalidRecord as error:
                log.warning("a record of our name %s is no good: %s", ipns.name_text(name), error)
        return max(good, key=lambda record: record.order, default=None)

    async def _kept(self, name: PeerID) -> Kept | None:
        data = await self._records.get(name)
        try:
            return None if data is None else Kept.decode(data)
        except InvalidRecord as error:
            log.warning("%s: %s", ipns.name_text(name), error)
            return None

    async def _send(self, name: PeerID, kept: Kept) -> None:
        """Give a record to the router. What it says of our name is known here from then on."""
        self._names.on_started(name)
        try:
            self._names.on_record(name, kept.raw, self._clock())
            await self._save_marks()
            await self._router.put_value(ipns.record_key(name), kept.raw)
            self._names.on_published(name, self._clock())
            sent = Kept(kept.raw, kept.lifetime, self._clock())
            await self._records.swap(name, kept.encode(), sent.encode())  # unless another has put a newer one
        finally:
            self._changed.set()

    # --- resolve ------------------------------------------------------------------------------------------------------
    async def resolve(self, path: str, *, fresh: bool = False, recursive: bool = True) -> str:
        """The ``/ipfs/`` path that ``/ipns/NAME/path``, ``ipns://NAME/path`` or a name alone leads to.

        ``fresh`` asks the router whatever the cache has; without ``recursive`` the answer may be a name again.
        ``NotFound`` where a name has no record or more than ``IPNS_MAX_DEPTH`` names lead to each other,
        ``InvalidRecord`` where what was found may not be believed, ``NotSupported`` for a domain name without
        ``dnslink``.
        """
        await self._restore()
        rest = path.removeprefix("ipns://").removeprefix("/ipns/")
        for _step in range(IPNS_MAX_DEPTH):
            name, _slash, below = rest.partition("/")
            target = (await self._step(name, fresh)).rstrip("/")
            whole = f"{target}/{below}" if below else target
            if not (recursive and whole.startswith("/ipns/")):
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
            record = await self._newest(name)
            await self._save_marks()
        return record.value

    async def _newest(self, name: PeerID) -> IpnsRecord:
        """The router's record, or where that is none or no good, what is kept of a name of ours."""
        try:
            return self._names.on_record(name, await self._router.get_value(ipns.record_key(name)), self._clock())
        except IPFSKitError:
            kept = await self._kept(name)
            if kept is None:
                raise
        return self._names.on_record(name, kept.raw, self._clock())

    async def _save_marks(self) -> None:
        changes = self._names.take_marks()
        if self._marks is None or not changes:
            return
        try:
            await self._marks.save(changes)
        except StorageError as error:  # names are followed all the same, and not replayed before the next start
            log.warning("how new names were is not remembered over a restart: %s", error)

    # --- keep alive ---------------------------------------------------------------------------------------------------
    async def keep(self, key: PrivateKey) -> None:
        """Keep a name alive that was published before this start; nothing where it was not."""
        name = key.peer_id()
        kept = await self._kept(name)
        if kept is None:
            return
        now, every = self._clock(), interval(kept.lifetime)
        self._keys[name] = key
        self._names.on_ours(name, min(kept.sent + every, now + every), kept.lifetime)
        self._changed.set()

    def forget(self, name: PeerID) -> None:
        """Publish a name no more. How new its last record was stays known."""
        self._turns.forget(name)
        self._keys.pop(name, None)
        self._names.on_removed(name)
        self._changed.set()

    async def run(self) -> None:
        """Publish our names again, for ever, a few at once."""
        await self._restore()
        for key in () if self._keys_there is None else await self._keys_there():
            try:
                await self.keep(key)
            except StorageError as error:
                log.warning("the name %s is not kept alive: %s", ipns.name_text(key.peer_id()), error)
        free = trio.CapacityLimiter(IPNS_PARALLEL)
        async with trio.open_nursery() as nursery:
            while True:
                self._changed = trio.Event()
                while free.available_tokens and (action := self._names.next_action(self._clock())) is not None:
                    self._names.on_started(action.name)
                    turn = object()
                    free.acquire_on_behalf_of_nowait(turn)
                    nursery.start_soon(self._again, action.name, free, turn)
                deadline = self._names.deadline() if free.available_tokens else None
                wait = float("inf") if deadline is None else max(0.0, deadline - self._clock())
                with trio.move_on_after(wait):
                    await self._changed.wait()

    async def _again(self, name: PeerID, free: trio.CapacityLimiter, turn: object) -> None:
        try:
            await self._republish(name)
        except IPFSKitError as error:
            log.warning("the name %s was not published again: %s", ipns.name_text(name), error)
            self._names.on_failed(name, self._clock())
        finally:
            free.release_on_behalf_of(turn)
            self._changed.set()

    async def _republish(self, name: PeerID) -> None:
        """Renew the newest record there is of our name, also where another machine made it."""
        async with self._turns.of(name) as turn:
            kept, key, before = await self._kept(name), self._keys.get(name), await self._before(name)
            if kept is None or key is None or before is None or turn.gone:
                self.forget(name)
                return
            now = self._clock()
            mark = self._names.mark(name, now)
            if mark is not None and mark > Mark(*before.order[:2]):
                raise NotFound(f"a newer record was seen, with sequence {mark.sequence}, and is not found now")
            raw = before.raw
            if before.expires < now + kept.lifetime:
                ttl = min(before.ttl, kept.lifetime)
                raw = ipns.create(
                    key, before.value, before.sequence, now, lifetime=kept.lifetime, ttl=ttl, v1=before.has_v1
                )
            renewed = Kept(raw, kept.lifetime, kept.sent)
            if await self._records.swap(name, kept.encode(), renewed.encode()):
                await self._send(name, renewed)
