"""One trustless gateway: its requests and redirects, what its answers mean, and how it has done so far.

Source: specs.ipfs.tech/http-gateways/trustless-gateway, and path-gateway for the status codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import trio

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import (
    API_SECONDS,
    GATEWAY_BEHIND_SECONDS,
    GATEWAY_MAX_REDIRECTS,
    GATEWAY_REST_MAX_SECONDS,
    GATEWAY_REST_SECONDS,
    MAX_BLOCK_BYTES,
)
from ipfs_kit_py.core.errors import BackendError, ConfigError, HashMismatch, IPFSKitError, NotFound
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.remote.archive import Archive, Truncated
from ipfs_kit_py.storage.remote.base import PASSING, Health, Transient, retry_after
from ipfs_kit_py.storage.remote.gateway.racing import Latency, Unable
from ipfs_kit_py.storage.remote.http.client import Http, checked_url
from ipfs_kit_py.storage.remote.http.origins import Origins, is_inside, target_of
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    import ssl

    from ipfs_kit_py.core.cid import Block
    from ipfs_kit_py.storage.remote.http.client import Answer
    from ipfs_kit_py.storage.remote.intake import Intake

RAW_TYPE = "application/vnd.ipld.raw"
CAR_TYPE = "application/vnd.ipld.car"
_VAGUE_TYPES = frozenset({"application/octet-stream", ""})  # what older gateways say of a block
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ABSENT = frozenset({404, 410, 451})  # not there, or refused by a deny list or the law
_NOT_CACHED = 412
_NO_ARCHIVES = frozenset({400, 406, 415, 501})  # of a request for a CAR: the gateway may still give blocks
_PROBE = "/ipfs/bafkqaaa"  # the empty identity CID


class NoArchives(Unable):
    """A gateway that gives blocks, but no archives, or none of this kind."""


@dataclass(frozen=True)
class GatewayStatistics:
    """How a gateway has done. ``latency`` in seconds to the first verified block, ``None`` before one came;
    ``failures`` of requests, ``streak`` of them in a row; ``lies`` are blocks with another hash; ``behind`` says that
    it is asked after all others for a lie, ``resting`` for how many seconds it asked to be left alone."""

    url: str
    requests: int
    blocks: int
    bytes: int
    failures: int
    streak: int
    absent: int
    lies: int
    behind: bool
    resting: float
    latency: float | None


class Gateway:
    """A gateway at ``base``, the URL that ``/ipfs`` is below; ``token`` is sent to this origin alone."""

    def __init__(
        self, base: str, *, token: str = "", seconds: float = API_SECONDS, tls: ssl.SSLContext | None = None
    ) -> None:
        self._http = Http(base, token=token, seconds=seconds, tls=tls)
        self._token = token
        self._others = Origins(seconds=seconds, tls=tls)  # that were redirected to
        self.latency = Latency()
        self._behind_until = self._rest_until = 0.0
        self._requests = self._blocks = self._bytes = 0
        self._failures = self._streak = self._absent = self._lies = 0

    def __repr__(self) -> str:
        return f"<Gateway {self.url}>"

    @property
    def url(self) -> str:
        """Its URL."""
        return self._http.base

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()
        await self._others.aclose()

    # --- how it has done ----------------------------------------------------------------------------------------------
    def order(self, now: float) -> tuple[bool, float]:
        """What gateways are sorted by: those that lied last, then by expected time, longer for each failure."""
        mean = self.latency.lead if self.latency.mean is None else self.latency.mean
        return self.is_behind(now), mean * (1 << min(self._streak, 8))

    def is_behind(self, now: float) -> bool:
        """Whether it lied lately."""
        return now < self._behind_until

    def resting(self, now: float) -> float:
        """For how many seconds it asked to be left alone."""
        return max(0.0, self._rest_until - now)

    def statistics(self, now: float) -> GatewayStatistics:
        return GatewayStatistics(
            url=self.url,
            requests=self._requests,
            blocks=self._blocks,
            bytes=self._bytes,
            failures=self._failures,
            streak=self._streak,
            absent=self._absent,
            lies=self._lies,
            behind=self.is_behind(now),
            resting=self.resting(now),
            latency=self.latency.mean,
        )

    def delivered(self, blocks: int, size: int) -> None:
        """Verified blocks came."""
        self._blocks += blocks
        self._bytes += size
        self._streak = 0

    def failed(self, error: IPFSKitError) -> None:
        """A request or an answer of it failed."""
        now = trio.current_time()
        if isinstance(error, NotFound):
            self._absent += 1
            self._streak = 0
            return
        if isinstance(error, NoArchives):
            return
        self._failures += 1
        self._streak += 1
        if isinstance(error, HashMismatch):
            self._lies += 1
            self._behind_until = now + GATEWAY_BEHIND_SECONDS
        elif isinstance(error, Transient) and error.after is not None:
            self._rest_until = now + min(error.after, GATEWAY_REST_MAX_SECONDS)

    # --- requests -----------------------------------------------------------------------------------------------------
    async def block(self, cid: CID) -> bytes:
        """One block, verified. ``NotFound``, ``HashMismatch``, ``Transient``, ``BackendError``."""
        answer = await self._ask("GET", cid, RAW_TYPE, [("format", "raw")])
        try:
            await self._judge(answer)
            self._check_type(answer, RAW_TYPE, _VAGUE_TYPES)
            data = await answer.read(MAX_BLOCK_BYTES)
        finally:
            await answer.aclose()
        whole = await threads.run(Pool.WORK, cid.verify, data) if len(data) > 1 << 18 else cid.verify(data)
        if not whole:
            raise HashMismatch(f"{self.url}: the bytes of block {cid} have another hash", peer=self.url, expected=cid)
        return data

    async def archive(self, root: CID, params: list[tuple[str, str]], intake: Intake) -> tuple[Archive, list[Block]]:
        """An archive of what ``intake`` needs, read until its first verified blocks. Close it.

        ``NoArchives`` where the gateway has none of this kind, else as ``block``; ``Transient`` where it is empty.
        """
        accept = f"{CAR_TYPE}; version=1; order=dfs; dups=n"
        answer = await self._ask("GET", root, accept, [("format", "car"), *params])
        try:
            if answer.status in _NO_ARCHIVES:
                raise NoArchives(f"{self.url}: {answer.status} for an archive of {root}")
            await self._judge(answer)
            self._check_type(answer, CAR_TYPE)
            archive = Archive(answer, intake, source=self.url, most=MAX_BLOCK_BYTES)
            try:
                blocks = await archive.more()
            except Truncated as error:
                raise NoArchives(str(error)) from None  # of this root; whether it is there a request for it tells
            if not blocks:
                raise Transient(f"{self.url}: the archive of {root} has not got it")
        except BaseException:
            await answer.aclose()
            raise
        return archive, blocks

    async def has(self, cid: CID) -> bool:
        """Whether the gateway says that it has the block itself."""
        headers = [("Cache-Control", "only-if-cached")]
        answer = await self._ask("HEAD", cid, RAW_TYPE, [("format", "raw")], headers)
        try:
            if answer.status in _ABSENT or answer.status == _NOT_CACHED:
                return False
            await self._judge(answer)
        finally:
            await answer.aclose()
        return True

    async def health(self) -> Health:
        """Whether it answers the probe of the specification."""
        started = trio.current_time()
        try:
            answer = await self._ask("GET", CID.parse("bafkqaaa"), RAW_TYPE, [("format", "raw")])
            try:
                await self._judge(answer)
                empty = not await answer.read(MAX_BLOCK_BYTES)
            finally:
                await answer.aclose()
        except IPFSKitError as error:
            return Health(False, trio.current_time() - started, str(error))
        detail = self.url if empty else f"{self.url}: {_PROBE} is not empty there: it is no trustless gateway"
        return Health(empty, trio.current_time() - started, detail)

    def _check_type(self, answer: Answer, wanted: str, others: frozenset[str] = frozenset()) -> None:
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != wanted and kind not in others:
            raise BackendError(f"{self.url}: answers with {self._http.words(kind) or 'no type'}, not {wanted}")

    async def _judge(self, answer: Answer) -> None:
        """Raise unless the answer is a 200."""
        status = answer.status
        if status == 200:
            return
        what = f"{answer.what}: {status}"
        if status in PASSING:
            wait = retry_after(answer.headers)
            raise Transient(what, after=GATEWAY_REST_SECONDS if wait is None and status in (429, 503) else wait)
        if status in _ABSENT:
            raise NotFound(what)
        raise BackendError(what)

    # --- redirects ----------------------------------------------------------------------------------------------------
    async def _ask(
        self,
        method: str,
        cid: CID,
        accept: str,
        params: list[tuple[str, str]],
        headers: list[tuple[str, str]] | None = None,
    ) -> Answer:
        self._requests += 1
        sent = [("Accept", accept), *(headers or [])]
        path = f"/ipfs/{cid.to_v1()}"
        answer = await self._http.open(method, path, params=params, headers=sent)
        url = f"{self.url}{path}"
        for _ in range(GATEWAY_MAX_REDIRECTS):
            if answer.status not in _REDIRECTS:
                return answer
            location = answer.headers.get("location", "")
            await answer.aclose()
            url = self._target(url, location)
            answer = await self._redirected(method, url, sent)
        if answer.status in _REDIRECTS:
            await answer.aclose()
            raise BackendError(f"{self.url}: redirects more than {GATEWAY_MAX_REDIRECTS} times")
        return answer

    def _target(self, url: str, location: str) -> str:
        """Where a redirect leads; ``BackendError`` where it must not."""
        try:
            target = urlsplit(urljoin(url, location))
            checked_url(f"{target.scheme}://{target.netloc}")
            valid = location.isascii() and location.isprintable() and " " not in location and location != ""
        except (ConfigError, ValueError):
            valid = False
        if not valid:
            raise BackendError(f"{self.url}: redirects to what is no URL")
        if urlsplit(url).scheme == "https" and target.scheme != "https":
            raise BackendError(f"{self.url}: redirects from https to http")
        if is_inside(target.hostname or "") and not is_inside(self._http.host):
            raise BackendError(f"{self.url}: redirects into a private network")
        return target._replace(fragment="").geturl()

    async def _redirected(self, method: str, url: str, headers: list[tuple[str, str]]) -> Answer:
        target, own = urlsplit(url), urlsplit(self.url)
        token = self._token if (own.scheme, own.netloc) == (target.scheme, target.netloc) else ""
        http = await self._others.at(target, token)
        return await http.open(method, target_of(target), headers=headers)
