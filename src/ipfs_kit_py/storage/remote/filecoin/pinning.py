"""A pinning service as a remote tier: it keeps DAGs that it fetches itself, from us or from whoever has them.

The Pinning Service API moves no blocks: ``put`` names the root, says where the data can be had (``origins``) and waits
a while for the service to fetch it. What a request is called is never stored here: it is found again by its CID.
IPFS Cluster, Filecoin Pin and several companies speak it. Source: ipfs/pinning-services-api-spec 1.0.0.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import trio

from ipfs_kit_py.core import multiaddr
from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import (
    API_ANSWER_BYTES,
    API_ERROR_CHARS,
    API_SECONDS,
    PIN_LIST_BYTES,
    PIN_MAX_DELEGATES,
    PIN_MAX_NAME,
    PIN_MAX_PAGES,
    PIN_PAGE,
    POLL_MAX_SECONDS,
    POLL_SECONDS,
)
from ipfs_kit_py.core.errors import (
    BackendError,
    ConfigError,
    InvalidAddress,
    InvalidCID,
    IPFSKitError,
    NotFound,
    NotSupported,
)
from ipfs_kit_py.core.text import printable
from ipfs_kit_py.storage.remote.base import Health, Status
from ipfs_kit_py.storage.remote.http.api import Api
from ipfs_kit_py.storage.remote.http.client import as_type

if TYPE_CHECKING:
    import random
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping, Sequence

    from ipfs_kit_py.core.cid import Block

STATES = ("queued", "pinning", "pinned", "failed")
_PENDING = frozenset({"queued", "pinning"})


@dataclass(frozen=True)
class PinRequest:
    """One pin at a service. ``delegates`` are multiaddrs of the service's peers that want to be connected to."""

    request: str
    state: str
    created: str  # RFC 3339, as the service wrote it
    cid: CID
    name: str = ""
    delegates: tuple[str, ...] = ()
    info: Mapping[str, str] = field(default_factory=dict)


class PinningTier:
    """A pinning service at ``endpoint``, the URL that ``/pins`` is below.

    ``origins`` gives our own multiaddrs with peer id at the time of a ``put``; ``connect`` is then called with the
    service's delegates, to be dialled at best effort (its failures are the caller's to swallow). ``wait`` is how long
    ``put`` waits for the service to be done, in seconds; what is not done by then is ``pinning`` or ``queued``.
    ``poll`` is the first pause between questions, in seconds; it doubles. ``meta`` goes with every pin.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        token: str,
        rng: random.Random,
        name: str = "pinning",
        origins: Callable[[], Sequence[str]] = tuple,
        connect: Callable[[Sequence[str]], Awaitable[object]] | None = None,
        meta: Mapping[str, str] | None = None,
        wait: float = 60.0,
        poll: float = POLL_SECONDS,
        seconds: float = API_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if not wait >= 0:
            raise ConfigError(f"the wait for a pinning service is at least 0 seconds, not {wait}")
        self._api = Api(endpoint, token=token, rng=rng, seconds=seconds, tls=tls)
        self._name = name
        self._origins = origins
        self._connect = connect
        self._meta = dict(meta or {})
        self._wait = wait
        self._poll = poll

    def __repr__(self) -> str:
        return f"<PinningTier {self._name} at {self._api.base}>"

    @property
    def name(self) -> str:
        return self._name

    @property
    def verbs(self) -> frozenset[str]:
        return frozenset({"has", "put", "remove", "status"})

    async def get(self, cid: CID) -> bytes:
        raise NotSupported(f"{self._name} is a pinning service, which gives no blocks: {cid} comes from its peers")

    async def get_dag(self, root: CID) -> AsyncGenerator[Block, None]:
        raise NotSupported(f"{self._name} is a pinning service, which gives no blocks: {root} comes from its peers")
        yield  # makes this an async generator

    async def has(self, cid: CID) -> bool:
        """Whether the DAG below this root is pinned there; of blocks inside a DAG a service says nothing."""
        return any(found.state == "pinned" for found in await self.find(cid))

    async def put(self, root: CID, blocks: AsyncIterable[Block], *, label: str = "") -> Status:
        """Have the service fetch and keep a DAG. ``blocks`` are not read: they are offered by this node's peers.

        A pin that is there or under way is not asked for again, one that failed is, and its old request removed.
        """
        before = await self.find(root)
        found = _best(before)
        if found is None or found.state == "failed":
            found = await self._ask(root, label)
            for old in before:
                if old.request != found.request:  # some services call a request by its CID
                    await self._drop(old)
        if self._connect is not None and found.delegates and found.state in _PENDING:
            await self._connect(found.delegates)
        return _status(root, await self._settled(found))

    async def remove(self, root: CID) -> None:
        for found in await self.find(root):
            await self._drop(found)

    async def _drop(self, found: PinRequest) -> None:
        with suppress(NotFound):
            await self._api.call("DELETE", f"pins/{_quoted(found.request)}")

    async def status(self, root: CID) -> Status:
        found = _best(await self.find(root))
        if found is None:
            raise NotFound(f"{self._name} has no pin of {root}", cid=root)
        return _status(root, found)

    async def health(self) -> Health:
        """Whether it answers to a listing of one pin."""
        started = trio.current_time()
        try:
            await self._page({"limit": "1"})
        except IPFSKitError as error:
            return Health(False, trio.current_time() - started, str(error))
        return Health(True, trio.current_time() - started)

    async def aclose(self) -> None:
        await self._api.aclose()

    async def find(self, cid: CID) -> list[PinRequest]:
        """The service's pins of a root, in every state, under either version of its CID."""
        names = {str(cid), str(cid.to_v1())}
        if cid.version == 1 and cid.multihash[:2] == b"\x12\x20" and cid.codec == 0x70:
            names.add(str(CID(0, cid.codec, cid.multihash)))
        return await self.pins(cids=sorted(names))

    async def pins(self, *, cids: Sequence[str] = (), states: Sequence[str] = STATES) -> list[PinRequest]:
        """All pins that match; ``BackendError`` where the listing never ends.

        Pages are as the specification wants them, the newest pins first. IPFS Cluster lists in no order, so that a page
        by time skips some, but gives as many as are asked for: where the pages have fewer than there are, one request
        asks for all.
        """
        query = {"limit": str(PIN_PAGE), "status": ",".join(states)}
        if cids:
            query["cid"] = ",".join(cids)
        wanted = {CID.parse(cid).multihash for cid in cids}
        first, most = dict(query), 0
        found: dict[str, PinRequest] = {}
        for _page in range(PIN_MAX_PAGES):
            page, total = await self._page(query)
            most = max(most, total)
            new = [row for row in page if row.request not in found]
            found.update((row.request, row) for row in new)
            if not new or total <= len(page):
                break
            query["before"] = min(row.created for row in new)
        else:
            raise BackendError(f"{self._name}: the listing of pins goes on after {PIN_MAX_PAGES} pages")
        if len(found) < most <= PIN_PAGE * PIN_MAX_PAGES:
            page, _total = await self._page({**first, "limit": str(most)}, most)
            found.update((row.request, row) for row in page)
        return [row for row in found.values() if not wanted or row.cid.multihash in wanted]

    async def _page(self, query: Mapping[str, str], most: int = PIN_PAGE) -> tuple[list[PinRequest], int]:
        """One page, and how many there are from it on."""
        limit = API_ANSWER_BYTES if most <= PIN_PAGE else PIN_LIST_BYTES
        answer = await self._api.call("GET", "pins", params=query, limit=limit)
        value = answer.json_map()
        rows = as_type(value.get("results"), list, answer.what)
        total = as_type(value.get("count"), int, answer.what)
        return [_request(row, answer.what) for row in rows[:most]], total

    async def _ask(self, root: CID, label: str) -> PinRequest:
        value: dict[str, Any] = {"cid": str(root)}
        if label:
            value["name"] = label[:PIN_MAX_NAME]
        if origins := list(self._origins())[:PIN_MAX_DELEGATES]:
            value["origins"] = origins
        if self._meta:
            value["meta"] = self._meta
        answer = await self._api.call("POST", "pins", value=value, again=False)
        found = _request(answer.json(), answer.what)
        if found.cid.multihash != root.multihash:
            raise BackendError(f"{self._name}: asked to pin {root}, it answers about {found.cid}")
        return found

    async def _settled(self, found: PinRequest) -> PinRequest:
        """The pin when it is done, or as it is when the wait is over."""
        pause = self._poll
        with trio.move_on_after(self._wait):
            while found.state in _PENDING:
                await trio.sleep(pause)
                pause = min(2 * pause, POLL_MAX_SECONDS)
                answer = await self._api.call("GET", f"pins/{_quoted(found.request)}")
                row = _request(answer.json(), answer.what)
                if row.cid.multihash != found.cid.multihash:
                    raise BackendError(f"{answer.what}: it answers about another CID, {row.cid}")
                found = row
        return found


def _quoted(request: str) -> str:
    return quote(request, safe="")


def _best(found: Sequence[PinRequest]) -> PinRequest | None:
    """Of several pins of one CID the one that is furthest."""
    order = {"pinned": 3, "pinning": 2, "queued": 1, "failed": 0}
    return max(found, key=lambda row: order[row.state], default=None)


def _status(root: CID, found: PinRequest) -> Status:
    pinned = found.state == "pinned"
    return Status(root, found.state, pinned, int(pinned), 1, {"request": found.request, **found.info})


def _request(value: Any, what: str) -> PinRequest:
    """A ``PinStatus`` object; everything in it is the service's word, so it is checked and cut."""
    row = as_type(value, dict, what)
    pin = as_type(row.get("pin"), dict, what)
    state = row.get("status")
    if state not in STATES:
        raise BackendError(f"{what}: a pin's status is none of {', '.join(STATES)}")
    try:
        cid = CID.parse(as_type(pin.get("cid"), str, what))
    except InvalidCID as error:
        raise BackendError(f"{what}: {error}") from None
    request = as_type(row.get("requestid"), str, what)
    if not 0 < len(request) <= 512 or request in (".", ".."):
        raise BackendError(f"{what}: a request's identifier has {len(request)} characters")
    info = row.get("info")
    return PinRequest(
        request=request,
        state=state,
        created=as_type(row.get("created"), str, what)[:64],
        cid=cid,
        name=str(pin.get("name") or "")[:PIN_MAX_NAME],
        delegates=tuple(_addresses(row.get("delegates"))),
        info=_details(info) if isinstance(info, dict) else {},
    )


def _details(info: Mapping[str, Any]) -> dict[str, str]:
    items = list(info.items())[:16]
    return {
        printable(key)[:64]: printable(text if isinstance(text, str) else json.dumps(text))[:API_ERROR_CHARS]
        for key, text in items
    }


def _addresses(delegates: Any) -> list[str]:
    """Those of the delegates that are multiaddrs with a peer id."""
    found: list[str] = []
    for text in delegates if isinstance(delegates, list) else []:
        try:
            parts = multiaddr.from_text(text) if isinstance(text, str) else ()
        except InvalidAddress:
            continue
        if parts and parts[-1][0] == "p2p":
            found.append(multiaddr.to_text(parts))
        if len(found) == PIN_MAX_DELEGATES:
            break
    return found
