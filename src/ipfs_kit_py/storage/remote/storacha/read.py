"""Blocks and DAGs fetched back from where location claims say that blobs are.

What is known of an upload (``Upload``) says which archives hold it. Where they are is remembered, else asked: of the
indexing service where one is configured, else of the upload service, whose receipts of ``space/blob/add`` lead there.
One block is read by its range in its archive through the index. Nothing is given out that was not hashed here.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from contextlib import aclosing
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.cid import CID, Block
from ipfs_kit_py.core.config import (
    API_PROGRESS_BYTES,
    MAX_CAR_SECTION_BYTES,
    MAX_PLAN_LINKS,
    STORACHA_BLOB_BYTES,
    STORACHA_INDEX_BYTES,
    STORACHA_INDEX_CACHE,
    STORACHA_READ_BYTES,
    STORACHA_READ_GAP,
    STORACHA_SCAN_BYTES,
    STORACHA_SITES,
    STORACHA_URLS,
)
from ipfs_kit_py.core.errors import BackendError, HashMismatch, InvalidBlock, NotFound, TimedOut
from ipfs_kit_py.core.multihash import IDENTITY
from ipfs_kit_py.dag import codecs
from ipfs_kit_py.dag.car import CarReader
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.remote.base import RETRIES, RETRY_BASE_SECONDS, RETRY_MAX_SECONDS, Transient
from ipfs_kit_py.storage.remote.filecoin.pieces import Sieve
from ipfs_kit_py.storage.remote.storacha.shard_index import Place, ShardIndex, decode_index
from ipfs_kit_py.storage.remote.storacha.uploads import Blob
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, Iterable, Sequence
    from pathlib import Path

    from ipfs_kit_py.storage.remote.storacha.api import StorachaApi
    from ipfs_kit_py.storage.remote.storacha.blob import Site

_PIECE_BYTES = 1 << 20  # of an archive, read away from the loop at once


class Reader:
    """Reads blobs of one service. ``folder`` is for blocks that wait on the disk."""

    def __init__(self, api: StorachaApi, rng: random.Random, folder: Path | None = None) -> None:
        self._api = api
        self._rng = rng
        self._folder = folder
        self._sites: OrderedDict[bytes, Site] = OrderedDict()
        self._indexes: OrderedDict[bytes, ShardIndex] = OrderedDict()  # by the index's own multihash

    # --- where blobs are ----------------------------------------------------------------------------------------------
    def know(self, digest: bytes, site: Site) -> None:
        """Remember where a blob is."""
        self._sites[digest] = site
        self._sites.move_to_end(digest)
        while len(self._sites) > STORACHA_SITES:
            self._sites.popitem(last=False)

    async def locate(self, digest: bytes) -> Site:
        """Ask where a blob is; ``NotFound`` where nobody says."""
        claims, _blocks = await self._api.claims(digest)
        for claim in claims[: STORACHA_URLS * 8]:
            if any(item.can == "assert/location" for item in claim.ucan.capabilities):
                try:
                    with self._api.judging():
                        site = self._api.judge.location(claim, digest, self._api.now, ours=False)
                except (BackendError, HashMismatch):
                    continue  # anyone may claim: the next may be right
                self.know(digest, site)
                return site
        site = await self._by_receipts(digest)
        self.know(digest, site)
        return site

    async def _by_receipts(self, digest: bytes) -> Site:
        """From what the upload service keeps of how the blob came into the space."""
        found = await self._api.ask("space/blob/get/0/1", {"digest": digest})
        if not isinstance(cause := found.get("cause"), CID):
            raise BackendError(f"{self._api.host} does not tell how a blob came into the space")
        receipt, message = await self._api.receipt(cause)
        judge, now = self._api.judge, self._api.now
        with self._api.judging():
            receipt.check(cause, judge.service, judge.trust.keys)
            added = judge.added(message, receipt, digest, None, None)
        accepted, message = added.accepted or await self._api.receipt(added.accept)
        with self._api.judging():
            return judge.site(accepted, message, added.accept, added.node, digest, now)

    async def _addresses(self, blob: Blob) -> AsyncGenerator[tuple[str, Site], None]:
        """Addresses of a blob, those that are remembered first; nothing where nobody says more."""
        given: set[str] = set()
        for site in (self._sites.get(blob.digest), blob.site):
            if site is not None and (site.expires is None or site.expires > self._api.now):
                for url in site.urls[:STORACHA_URLS]:
                    if url not in given:
                        given.add(url)
                        yield url, site
        try:
            site = await self.locate(blob.digest)
        except (BackendError, NotFound, TimedOut):
            if given:
                return  # what failed at the addresses says more
            raise
        for url in site.urls[:STORACHA_URLS]:
            if url not in given:
                yield url, site

    # --- bytes of blobs -----------------------------------------------------------------------------------------------
    async def stream(self, blob: Blob, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """A blob's bytes, unverified. Goes on where it was cut, from the next address where one gives no more."""
        at = start
        failure: BackendError | NotFound | None = None
        async with aclosing(self._addresses(blob)) as addresses:
            async for url, site in addresses:
                size = site.length if blob.size is None else blob.size
                end = size if length is None else start + length
                failed = 0
                while failed <= RETRIES:
                    begun = at
                    try:
                        wanted = None if end is None else end - at
                        async with aclosing(self._api.read(url, site.offset + at, wanted)) as chunks:
                            async for chunk in chunks:
                                at += len(chunk)
                                if at > STORACHA_BLOB_BYTES:
                                    raise BackendError(f"a blob of more than {STORACHA_BLOB_BYTES} bytes")
                                yield chunk
                        return
                    except Transient as error:
                        failure = error
                        failed = 1 if at - begun >= API_PROGRESS_BYTES else failed + 1
                        pause = RETRY_BASE_SECONDS * (1 << failed) * (1 + self._rng.random())
                        await trio.sleep(min(max(pause, error.after or 0.0), RETRY_MAX_SECONDS))
                    except (BackendError, NotFound) as error:
                        failure = error
                        break
        raise failure or NotFound(f"nobody says where the blob {blob.cid} is")

    async def whole(self, blob: Blob, limit: int) -> bytes:
        """A blob that fits memory, verified."""
        body = bytearray()
        async with aclosing(self.stream(blob)) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > limit:
                    raise BackendError(f"the blob {blob.cid} is over {limit} bytes")
        if not await threads.run(Pool.WORK, blob.cid.verify, body):
            raise HashMismatch(f"the bytes of blob {blob.cid} have another hash", expected=blob.cid)
        return bytes(body)

    # --- indexes ------------------------------------------------------------------------------------------------------
    async def index(self, blob: Blob) -> ShardIndex:
        """The index in a blob."""
        found = self._indexes.get(blob.digest)
        if found is None:
            raw = await self.whole(blob, STORACHA_INDEX_BYTES)
            try:
                found = await threads.run(Pool.WORK, decode_index, raw)
            except InvalidBlock as error:
                raise BackendError(f"the index {blob.cid}: {error}") from None
            self._indexes[blob.digest] = found
            while len(self._indexes) > 1 and sum(len(kept.places) for kept in self._indexes.values()) > (
                STORACHA_INDEX_CACHE
            ):
                self._indexes.popitem(last=False)
        self._indexes.move_to_end(blob.digest)
        return found

    def has_index(self, blob: Blob) -> bool:
        """Whether an index is in memory."""
        return blob.digest in self._indexes

    def place(self, multihash: bytes) -> Place | None:
        """Where a block is, by the indexes in memory."""
        for index in reversed(self._indexes.values()):
            if (place := index.places.get(multihash)) is not None:
                return place
        return None

    async def claimed_index(self, multihash: bytes) -> Blob | None:
        """The index that a claim names for a block or root, ``None`` without one."""
        claims, _blocks = await self._api.claims(multihash)
        for claim in claims[: STORACHA_URLS * 8]:
            for item in claim.ucan.capabilities:
                if item.can == "assert/index" and isinstance(link := item.nb.get("index"), CID):
                    return Blob(link.multihash)
        return None

    # --- blocks -------------------------------------------------------------------------------------------------------
    async def block(self, cid: CID, place: Place) -> bytes:
        """One block by its range."""
        if place.length > MAX_CAR_SECTION_BYTES:
            raise BackendError(f"an index says that block {cid} has {place.length} bytes")
        blob = Blob(place.shard)
        body = bytearray()
        async with aclosing(self.stream(blob, place.offset, place.length)) as chunks:
            async for chunk in chunks:
                body += chunk
        if not cid.verify(body):
            raise HashMismatch(f"the bytes at the place of block {cid} have another hash", expected=cid)
        return bytes(body)

    async def scan(self, cid: CID, shards: Sequence[Blob]) -> bytes:
        """One block by reading archives from their beginning; ``NotFound`` after ``STORACHA_SCAN_BYTES``."""
        left = STORACHA_SCAN_BYTES
        for shard in shards:
            reader = CarReader(verify=False)
            async with aclosing(self.stream(shard)) as chunks:
                async for chunk in chunks:
                    left -= len(chunk)
                    if left < 0:
                        raise NotFound(f"no index tells where block {cid} is in {len(shards)} archives", cid=cid)
                    for block in await threads.run(Pool.WORK, _sections, reader, chunk, shard):
                        if block.cid.multihash == cid.multihash:
                            if not cid.verify(block.data):
                                raise HashMismatch(f"block {cid} in {shard.cid} is false", expected=cid)
                            return bytes(block.data)
        raise NotFound(f"block {cid} is not in the archives of its upload", cid=cid)

    async def dag(self, root: CID, shards: Sequence[Blob]) -> AsyncGenerator[Block, None]:
        """The blocks of a DAG that is in archives, each once, verified and reached from ``root``, parents first."""
        with Sieve(root, self._folder) as sieve:
            for shard in shards:
                reader = CarReader(verify=False)
                async with aclosing(_gathered(self.stream(shard))) as chunks:
                    async for chunk in chunks:
                        more = await threads.run(Pool.WORK, _sift, sieve, reader, chunk, shard)
                        while more:
                            for block in more:
                                yield block
                            more = await threads.run(Pool.WORK, sieve.pop)
                try:
                    reader.close()
                except InvalidBlock as error:
                    raise BackendError(f"{shard.cid}: {error}") from None
            if (lack := sieve.lacking()) is not None:
                raise NotFound(f"the archives of {root} lack its block {lack}", cid=lack)

    async def below(self, root: CID) -> AsyncGenerator[Block, None]:
        """The blocks of a DAG whose places the indexes in memory tell, read by ranges; neighbours together."""
        waiting, known = deque([root]), {root.to_v1().raw}
        while waiting:
            batch: list[tuple[CID, Place]] = []
            size = 0
            while waiting and size < STORACHA_READ_BYTES:
                cid = waiting.popleft()
                if (place := self.place(cid.multihash)) is None:
                    raise NotFound(f"no index tells where block {cid} is", cid=cid)
                batch.append((cid, place))
                size += place.length
            batch.sort(key=lambda row: row[1])
            for group in _neighbours(batch):
                for block in await self._group(group):
                    yield block
                    for link in _links(block, known):
                        waiting.append(link)

    async def _group(self, group: list[tuple[CID, Place]]) -> list[Block]:
        start = group[0][1].offset
        end = max(place.offset + place.length for _cid, place in group)
        if end - start > STORACHA_READ_BYTES + MAX_CAR_SECTION_BYTES:
            raise BackendError(f"an index says that block {group[0][0]} has {group[0][1].length} bytes")
        body = bytearray()
        async with aclosing(self.stream(Blob(group[0][1].shard), start, end - start)) as chunks:
            async for chunk in chunks:
                body += chunk
        return await threads.run(Pool.WORK, _cut, body, start, group)


async def _gathered(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Bytes in larger pieces: each costs a change of threads."""
    parts: list[bytes] = []
    size = 0
    async with aclosing(chunks):
        async for chunk in chunks:
            parts.append(chunk)
            size += len(chunk)
            if size >= _PIECE_BYTES:
                yield b"".join(parts)
                parts, size = [], 0
    yield b"".join(parts)


def _cut(body: bytearray, start: int, group: list[tuple[CID, Place]]) -> list[Block]:
    found = []
    for cid, place in group:
        data = bytes(memoryview(body)[place.offset - start : place.offset - start + place.length])
        if not cid.verify(data):
            raise HashMismatch(f"the bytes at the place of block {cid} have another hash", expected=cid)
        found.append(Block(cid, data))
    return found


def _neighbours(batch: list[tuple[CID, Place]]) -> Iterable[list[tuple[CID, Place]]]:
    """Sorted places in groups worth one request each."""
    group: list[tuple[CID, Place]] = []
    start = end = 0
    for cid, place in batch:
        fits = group and place.shard == group[0][1].shard and place.offset <= end + STORACHA_READ_GAP
        if fits and place.offset + place.length - start <= STORACHA_READ_BYTES:
            group.append((cid, place))
            end = max(end, place.offset + place.length)
            continue
        if group:
            yield group
        group, start, end = [(cid, place)], place.offset, place.offset + place.length
    if group:
        yield group


def _links(block: Block, known: set[bytes]) -> Iterable[CID]:
    """What a block links to that was not met, through links that carry their content."""
    stack = codecs.links(block.cid, block.data)[::-1]
    while stack:
        cid = stack.pop()
        key = cid.to_v1().raw
        if key in known:
            continue
        known.add(key)
        if len(known) > MAX_PLAN_LINKS:
            raise BackendError(f"a DAG of more than {MAX_PLAN_LINKS} blocks is too much for one reading")
        if cid.hash_code == IDENTITY:
            stack += codecs.links(cid, cid.check_allowed().digest)[::-1]
        else:
            yield cid


def _sections(reader: CarReader, chunk: bytes, shard: Blob) -> list[Block]:
    try:
        return reader.feed(chunk)
    except InvalidBlock as error:
        raise BackendError(f"in {shard.cid} there is no archive: {error}") from None


def _sift(sieve: Sieve, reader: CarReader, chunk: bytes, shard: Blob) -> list[Block]:
    found = _sections(reader, chunk, shard)
    for cid, data in found:
        if not cid.verify(data):
            raise HashMismatch(f"block {cid} in {shard.cid} is false", expected=cid)
    sieve.push(found)
    return sieve.pop()
