"""The REST interface of IPFS Cluster over ``http``: pins by peer, allocations, uploads, and what its errors mean.

Source: ipfscluster.io/documentation/reference/api; ipfs-cluster 1.1.6 api/rest, api/types.go, api/common.
"""

from __future__ import annotations

import json
import secrets
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from ipfs_kit_py.core.config import (
    API_ANSWER_BYTES,
    API_SECONDS,
    CLUSTER_ADD_SECONDS,
    CLUSTER_MAX_PEERS,
    RPC_LINE_BYTES,
)
from ipfs_kit_py.core.errors import BackendError, ConfigError, NotFound
from ipfs_kit_py.storage.remote.archive_body import multipart
from ipfs_kit_py.storage.remote.base import PASSING, Transient, retried, retry_after
from ipfs_kit_py.storage.remote.cluster.answers import (
    STATE_CHARS,
    TEXT_CHARS,
    TOKEN_CHARS,
    allocation_of,
    cid_of,
    metrics_of,
    parse_object,
    pin_map_of,
    text_of,
)
from ipfs_kit_py.storage.remote.http.client import Http

if TYPE_CHECKING:
    import random
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterable, Mapping

    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import CID
    from ipfs_kit_py.storage.remote.cluster.answers import Allocation, PinMap, PinOptions
    from ipfs_kit_py.storage.remote.http.client import Answer

T = TypeVar("T")
_Query = list[tuple[str, str]]


class ClusterApi:
    """One peer's REST interface at ``endpoint``, which speaks for the cluster.

    ``login`` is sent with every request, or (``jwt``) once for a token, which is sent then; ``token`` is one that was
    made elsewhere. ``NotFound`` for pins that there are not, else ``BackendError``; no text shows a secret.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        rng: random.Random,
        token: str = "",
        login: tuple[str, str] | None = None,
        jwt: bool = False,
        seconds: float = API_SECONDS,
        add_seconds: float = CLUSTER_ADD_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if jwt and login is None:
            raise ConfigError("a token is fetched with user and password: configure both, or a token")
        self.seconds = seconds
        self._rng = rng
        self._endpoint, self._tls = endpoint, tls
        self._login = Http(endpoint, login=login, seconds=seconds, tls=tls) if jwt else None
        self._add_seconds = max(seconds, add_seconds)
        self._fetching = trio.Lock()
        self._fetched = 0  # tokens, so far
        if jwt or login is None:
            self._http, self._uploads = self._bearing(token, seconds), self._bearing(token, self._add_seconds)
        else:
            self._http = Http(endpoint, login=login, seconds=seconds, tls=tls)
            self._uploads = Http(endpoint, login=login, seconds=self._add_seconds, tls=tls)

    def _bearing(self, token: str, seconds: float) -> Http:
        return Http(self._endpoint, token=token, seconds=seconds, tls=self._tls)

    @property
    def base(self) -> str:
        """The URL, without a secret."""
        return self._http.base

    def __repr__(self) -> str:
        return f"<ClusterApi {self.base}>"

    async def aclose(self) -> None:
        """Close the connections."""
        for http in (self._login, self._http, self._uploads):
            if http is not None:
                await http.aclose()

    # --- pins ---------------------------------------------------------------------------------------------------------
    async def pin(self, cid: CID, options: PinOptions, *, label: str = "") -> Allocation:
        """Have the cluster fetch and keep a DAG: who shall. It returns before any of them has it."""
        return allocation_of(await self._value("POST", f"/pins/{cid}", options.query(label)), cid)

    async def unpin(self, cid: CID) -> None:
        """Keep it no longer; ``NotFound`` where it is not kept."""
        await self._value("DELETE", f"/pins/{cid}")

    async def status(self, cid: CID) -> PinMap:
        """What each peer says of a pin. The cluster waits up to 15 s for those that do not answer."""
        return pin_map_of(await self._value("GET", f"/pins/{cid}"), cid)

    async def allocation(self, cid: CID) -> Allocation:
        """What is wanted of a pin; ``NotFound`` where it is no pin."""
        return allocation_of(await self._value("GET", f"/allocations/{cid}"), cid)

    async def recover(self, cid: CID) -> PinMap:
        """Have peers where it failed try again: what they say then."""
        return pin_map_of(await self._value("POST", f"/pins/{cid}/recover"), cid)

    async def allocations(self) -> AsyncGenerator[Allocation, None]:
        """What is wanted of all pins."""
        async with aclosing(self._rows("/allocations", [("filter", "all")])) as rows:
            async for row in rows:
                yield allocation_of(row)

    async def statuses(self, *, states: tuple[str, ...] = ()) -> AsyncGenerator[PinMap, None]:
        """What peers say of all pins, or of those that are in one of ``states`` somewhere."""
        query = [("filter", ",".join(states))] if states else []
        async with aclosing(self._rows("/pins", query)) as rows:
            async for row in rows:
                yield pin_map_of(row)

    async def peers(self) -> dict[str, str]:
        """The cluster's peers by id: what is wrong with each, empty where nothing is."""
        found: dict[str, str] = {}
        async with aclosing(self._rows("/peers", [])) as rows:
            async for row in rows:
                if len(found) == CLUSTER_MAX_PEERS:
                    raise BackendError(f"{self.base}: a cluster of over {CLUSTER_MAX_PEERS} peers")
                found[text_of(row, "id", TEXT_CHARS)] = text_of(row, "error", TEXT_CHARS)
        return found

    async def free_space(self) -> dict[str, int]:
        """The peers that can be allotted pins now, by id: how many bytes each has left."""
        answer = await self._body("GET", "/monitor/metrics/freespace", [])
        return metrics_of(answer)

    async def new_token(self) -> str:
        """A token for this peer's interfaces, signed for the user who asks; it is good as long as the password is."""
        return _token(await self._value("POST", "/token"))

    async def version(self) -> str:
        """The version of the peer that is asked."""
        return text_of(await self._value("GET", "/version"), "version", STATE_CHARS)

    # --- uploads ------------------------------------------------------------------------------------------------------
    async def add(self, body: AsyncIterable[Buffer], options: PinOptions, *, label: str = "") -> CID:
        """Upload an archive of one root, which is then pinned: its root as the cluster read it.

        ``NoConnection`` before anything was read of ``body``; what ``body`` raises as it is.
        """
        await self._sign_in()
        await self._value("GET", "/version")  # a refusal or a token that ended is met before anything is read
        boundary = secrets.token_hex(16)
        return await self._uploads.upload(
            "POST",
            "/add",
            multipart(body, boundary),
            self._added,
            params=[("format", "car"), *options.query(label)],
            headers=[("Content-Type", f"multipart/form-data; boundary={boundary}")],
        )

    async def _added(self, answer: Answer) -> CID:
        await self._judge(answer)
        found: CID | None = None
        async with aclosing(_lines(answer, API_ANSWER_BYTES)) as rows:
            async for row in rows:
                found = cid_of(row.get("cid"), answer.what)
        if found is None:
            raise BackendError(f"{answer.what}: the answer names no root")
        return found

    # --- requests -----------------------------------------------------------------------------------------------------
    async def _value(self, method: str, path: str, query: _Query | None = None) -> dict[str, Any]:
        """An answer that is one object, empty for none."""
        body = await self._body(method, path, query or [])
        return parse_object(body, f"{method} {self.base}{path}") if body.strip() else {}

    async def _body(self, method: str, path: str, query: _Query) -> bytes:
        async def once() -> bytes:
            answer = await self._open(method, path, query)
            try:
                return await answer.read(API_ANSWER_BYTES)
            finally:
                await answer.aclose()

        return await retried(once, self._rng, seconds=self.seconds, what=f"{method} {self.base}{path}")

    async def _rows(self, path: str, query: _Query) -> AsyncGenerator[dict[str, Any], None]:
        async def begun() -> Answer:
            return await self._open("GET", path, query)

        answer = await retried(begun, self._rng, seconds=self.seconds, what=f"GET {self.base}{path}")
        async with aclosing(_lines(answer)) as rows:
            async for row in rows:
                yield row

    async def _open(self, method: str, path: str, query: _Query) -> Answer:
        """The beginning of an answer that is no error. A token that is no longer taken is fetched anew, once."""
        await self._sign_in()
        fetched = self._fetched
        answer = await self._http.open(method, path, params=query)
        try:
            if answer.status == 401 and self._login is not None:
                await answer.aclose()
                await self._sign_in(fetched)
                answer = await self._http.open(method, path, params=query)
            await self._judge(answer)
        except BaseException:
            await answer.aclose()
            raise
        return answer

    async def _sign_in(self, seen: int = 0) -> None:
        """Fetch a token where one is needed and no other task did since ``seen`` were fetched."""
        if self._login is None or self._fetched > seen:
            return
        async with self._fetching:
            if self._fetched > seen:
                return
            answer = await self._login.open("POST", "/token")
            try:
                await self._judge(answer)
                token = _token(parse_object(await answer.read(API_ANSWER_BYTES), answer.what))
            finally:
                await answer.aclose()
            try:
                new = self._bearing(token, self.seconds), self._bearing(token, self._add_seconds)
            except ConfigError:
                raise BackendError(f"{answer.what}: the token has characters that a header cannot carry") from None
            old, (self._http, self._uploads) = (self._http, self._uploads), new
            self._fetched += 1
            for http in old:
                await http.aclose()

    def _words(self, text: str) -> str:
        text = self._http.words(text)
        return text if self._login is None else self._login.words(text)

    async def _judge(self, answer: Answer) -> None:
        if 200 <= answer.status < 300:
            return
        body = await answer.read(API_ANSWER_BYTES)
        try:
            text = str(json.loads(body)["message"])
        except (ValueError, TypeError, KeyError, RecursionError):
            text = body.decode(errors="replace")
        message = f"{answer.what}: {answer.status} {self._words(text)}"
        if answer.status == 404:
            raise NotFound(message)
        if answer.status in PASSING:
            raise Transient(message, after=retry_after(answer.headers))
        raise BackendError(message)


def _token(value: Mapping[str, Any]) -> str:
    token = value.get("token")
    if not isinstance(token, str) or not 0 < len(token) <= TOKEN_CHARS:
        raise BackendError("the cluster's answer has no token")
    return token


async def _lines(answer: Answer, limit: int | None = None) -> AsyncGenerator[dict[str, Any], None]:
    """The objects of an answer of at most ``limit`` bytes, one a line; it is closed at the end. ``StreamFailed`` where
    its trailer says so."""
    rest, size = b"", 0
    try:
        async for data in answer:
            size += len(data)
            if limit is not None and size > limit:
                raise BackendError(f"{answer.what}: the answer is over {limit} bytes")
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > RPC_LINE_BYTES:
                raise BackendError(f"{answer.what}: a line of over {RPC_LINE_BYTES} bytes")
            for line in lines:
                if line.strip():
                    yield parse_object(line, answer.what)
        if rest.strip():
            yield parse_object(rest, answer.what)
    finally:
        await answer.aclose()
