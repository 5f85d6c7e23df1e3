"""A space of a Storacha upload service as a remote tier: UCAN 0.9 for who may do what, archives for what is kept.

The public service of that name has ended; the protocol can be hosted by anyone, so the endpoint is always configured,
with the service's DID, the agent's key and the delegation that gives it the space. ``put`` streams a DAG into archives
on the disk and uploads them one by one; put again after a stop, it sends only what is not there yet. Source:
storacha/specs w3-blob.md, w3-index.md, w3-store.md.
"""

from __future__ import annotations

import hashlib
import random
import time
from contextlib import aclosing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from ipfs_kit_py.core import multihash as mhash
from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import (
    API_SECONDS,
    STORACHA_INDEX_TRIES,
    STORACHA_PAGE,
    STORACHA_PAGES,
    STORACHA_SHARD_BYTES,
    STORACHA_SHARDS,
)
from ipfs_kit_py.core.errors import BackendError, HashMismatch, IPFSKitError, NotFound, NotSupported, TimedOut
from ipfs_kit_py.core.multihash import IDENTITY
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.remote.base import Health, Status
from ipfs_kit_py.storage.remote.storacha.api import StorachaApi
from ipfs_kit_py.storage.remote.storacha.did import Unauthorized
from ipfs_kit_py.storage.remote.storacha.read import Reader
from ipfs_kit_py.storage.remote.storacha.shard_index import encode_index
from ipfs_kit_py.storage.remote.storacha.shards import CarSharder
from ipfs_kit_py.storage.remote.storacha.ucan import CAR_CODEC
from ipfs_kit_py.storage.remote.storacha.ucan_message import Receipt
from ipfs_kit_py.storage.remote.storacha.uploads import Blob, Upload
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    import ssl
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        AsyncIterator,
        Callable,
        Collection,
        MutableMapping,
        Sequence,
    )
    from pathlib import Path

    from ipfs_kit_py.core.cid import Block
    from ipfs_kit_py.crypto.keys import PrivateKey
    from ipfs_kit_py.storage.remote.storacha.ucan import Delegation

_RIGHTS = {
    "put": ("space/blob/add", "space/index/add", "upload/add"),
    "remove": ("upload/get", "upload/list", "upload/remove", "space/blob/remove"),
    "status": ("upload/get",),
}
_FAILED = (NotFound, BackendError, HashMismatch, TimedOut)  # of one way: the next may do better


class StorachaTier:
    """A space at ``endpoint``.

    ``service``: the service's DID, with its ``did:key`` as ``service_key`` where it is of another method. ``agent``:
    the key that asks; ``proofs``: delegations to it (``ucan.extract``, ``ucan.parse_proof``); ``space``: the space's
    DID where they name several. ``receipts``: the URL below which receipts are, by default ``endpoint`` + ``receipt``;
    ``claims``: the URL of an indexing service, for finding what others uploaded by block. ``hosts``: the only hosts
    that blobs may be at; without it all but those of our own network. ``uploads`` remembers what was put; a mapping
    that lasts saves questions after a restart, and names the index. ``folder``: for archives and blocks on their way.
    ``shard_bytes``: of an archive at most. ``seconds``: for one request; ``wait``: for a blob to be accepted.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        service: str,
        agent: PrivateKey,
        proofs: Sequence[Delegation],
        service_key: str | None = None,
        space: str | None = None,
        receipts: str | None = None,
        claims: str | None = None,
        hosts: Collection[str] | None = None,
        uploads: MutableMapping[CID, Upload] | None = None,
        folder: Path | None = None,
        shard_bytes: int = STORACHA_SHARD_BYTES,
        seconds: float = API_SECONDS,
        wait: float = API_SECONDS,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.time,
        tls: ssl.SSLContext | None = None,
        name: str = "storacha",
    ) -> None:
        rng = random.SystemRandom() if rng is None else rng
        self._api = StorachaApi(
            endpoint,
            service=service,
            service_key=service_key,
            agent=agent,
            proofs=proofs,
            space=space,
            rng=rng,
            clock=clock,
            receipts=receipts,
            claims=claims,
            hosts=hosts,
            seconds=seconds,
            wait=wait,
            tls=tls,
        )
        self._reader = Reader(self._api, rng, folder)
        self.uploads: MutableMapping[CID, Upload] = {} if uploads is None else uploads
        self._folder = folder
        self._shard_bytes = shard_bytes
        self._name = name

    def __repr__(self) -> str:
        return f"<StorachaTier {self._name}: {self._api}>"

    @property
    def name(self) -> str:
        return self._name

    @property
    def space(self) -> str:
        """The space's DID."""
        return self._api.space

    @property
    def agent(self) -> str:
        """The DID that asks, which delegations must be for."""
        return self._api.agent

    @property
    def verbs(self) -> frozenset[str]:
        found = {verb for verb, rights in _RIGHTS.items() if all(self._api.gives(right) for right in rights)}
        return frozenset(found | {"get", "get_dag", "has"})

    # --- keeping ------------------------------------------------------------------------------------------------------
    async def put(self, root: CID, blocks: AsyncIterable[Block], *, label: str = "") -> Status:
        """Upload a DAG as archives with an index; ``label`` is not sent. What is there already is not sent again."""
        self._may("put")
        shards: list[Blob] = []
        parts: dict[bytes, bytes] = {}
        sharder = CarSharder(root, blocks, most=self._shard_bytes, folder=self._folder)
        while True:
            async with sharder.next() as shard:
                if shard is None:
                    break
                shards.append(await self._store(shard.digest, shard.size, shard.body))
                parts[shard.digest] = shard.index
        index = await self._put_index(root, parts)
        await self._api.invoke("upload/add", {"root": root, "shards": [shard.cid for shard in shards]})
        upload = Upload(root, tuple(shards), index)
        self.uploads[root] = upload
        return Status(root, "stored", True, 1, 1, {str(blob.cid): blob.site.node for blob in shards if blob.site})

    def _may(self, verb: str) -> None:
        lacking = [right for right in _RIGHTS[verb] if not self._api.gives(right)]
        if lacking:
            raise NotSupported(
                f"{self._name} cannot {verb}: no delegation of {self._api.space} to {self._api.agent} "
                f"gives {', '.join(lacking)}"
            )

    async def _put_index(self, root: CID, parts: dict[bytes, bytes]) -> Blob:
        raw = await threads.run(Pool.WORK, encode_index, root, parts)
        digest = mhash.wrap(mhash.SHA2_256, (await threads.run(Pool.WORK, hashlib.sha256, raw)).digest())
        blob = await self._store(digest, len(raw), partial(_Body, raw))
        await self._api.invoke("space/index/add", {"index": blob.cid})
        return blob

    async def _store(self, digest: bytes, size: int, body: Callable[[], AsyncIterator[bytes]]) -> Blob:
        """Bring one blob into the space, unless it is there, and learn where it is."""
        api = self._api
        receipt, message = await api.invoke("space/blob/add", {"blob": {"digest": digest, "size": size}})
        with api.judging():
            added = api.judge.added(message, receipt, digest, size, api.now)
        if not added.delivered:
            if added.url is not None:
                await api.put(added.url, added.headers, body, size)
            await api.conclude(Receipt.issue(added.key, added.put, {}))
        accepted, message = added.accepted or await api.wait_receipt(added.accept)
        with api.judging():
            site = api.judge.site(accepted, message, added.accept, added.node, digest, api.now)
        for url in site.urls:
            api.site(url)  # an address that we would not go to is none
        self._reader.know(digest, site)
        return Blob(digest, size, site)

    async def remove(self, root: CID) -> None:
        """Take an upload out of the space with those of its archives that no other upload there names.

        The archives go first: where it stops in the middle, removing again goes on. What is uploaded meanwhile with
        one of these archives loses it. ``BackendError`` where the others are too many to look through: nothing is
        removed then.
        """
        self._may("remove")
        try:
            upload = await self._asked(root)
        except NotFound:
            self.uploads.pop(root, None)
            return
        known = self.uploads.get(root)
        blobs = {blob.digest for blob in upload.shards}
        if known is not None:
            blobs |= {blob.digest for blob in known.shards}
        if blobs:
            async with aclosing(self.list_uploads()) as others:
                async for other in others:
                    if other.root != root:
                        blobs -= {blob.digest for blob in other.shards}
        index = known.index if known is not None else await self._reader.claimed_index(root.multihash)
        for digest in [*blobs, *([index.digest] if index is not None else [])]:
            await self._api.invoke("space/blob/remove", {"digest": digest})
        with suppress(NotFound):  # another was faster
            await self._api.invoke("upload/remove", {"root": root})
        self.uploads.pop(root, None)

    async def list_uploads(self) -> AsyncGenerator[Upload, None]:
        """The uploads in the space, as the service tells them: without indexes. Close it when leaving early."""
        cursor: str | None = None
        for _page in range(STORACHA_PAGES):
            asked: dict[str, Any] = {"size": STORACHA_PAGE}
            if cursor is not None:
                asked["cursor"] = cursor
            page = await self._api.ask("upload/list", asked)
            rows, following = page.get("results"), page.get("cursor")
            if not isinstance(rows, list) or not isinstance(following, str | None):
                raise BackendError(f"{self._api.host} answers upload/list with no list")
            for row in rows:
                yield self._upload(row) if isinstance(row, dict) and "shards" in row else await self._asked(_root(row))
            if not rows or following is None or following == cursor:
                return
            cursor = following
        raise BackendError(f"the space {self._api.space} has more than {STORACHA_PAGE * STORACHA_PAGES} uploads")

    async def _asked(self, root: CID) -> Upload:
        """An upload as the service tells it; ``NotFound`` where there is none."""
        found = self._upload(await self._api.ask("upload/get", {"root": root}))
        if found.root != root:
            raise BackendError(f"{self._api.host} was asked for the upload {root} and tells of {found.root}")
        return found

    def _upload(self, row: dict[str, Any]) -> Upload:
        shards = row.get("shards", [])
        fine = isinstance(shards, list) and len(shards) <= STORACHA_SHARDS
        if not fine or not all(isinstance(shard, CID) and shard.codec == CAR_CODEC for shard in shards):
            raise BackendError(f"{self._api.host} tells of an upload whose archives are no links, or too many")
        with self._api.judging():
            return Upload(_root(row), tuple(Blob(shard.check_allowed().multihash) for shard in shards))

    async def status(self, root: CID) -> Status:
        """``stored`` where the space has all archives of the upload, ``lost`` where it lacks some, ``listed`` where we
        have no right to ask for them. It is the service's word; that the bytes are there only fetching them tells."""
        upload = await self._asked(root)
        if not self._api.gives("space/blob/get/0/1"):
            return Status(root, "listed", False, 0, 1)
        detail = {}
        for blob in upload.shards:
            try:
                await self._api.ask("space/blob/get/0/1", {"digest": blob.digest})
            except NotFound:
                detail[str(blob.cid)] = "missing"
            else:
                detail[str(blob.cid)] = "registered"
        safe = bool(detail) and "missing" not in detail.values()
        return Status(root, "stored" if safe else "lost", safe, int(safe), 1, detail)

    # --- reading ------------------------------------------------------------------------------------------------------
    async def get(self, cid: CID) -> bytes:
        """One block by its range in its archive, where an index tells that; a root without an index by reading its
        archives."""
        if cid.hash_code == IDENTITY:
            return cid.check_allowed().digest
        if await self._find(cid):
            place = self._reader.place(cid.multihash)
            assert place is not None
            return await self._reader.block(cid, place)
        return await self._reader.scan(cid, (await self._known(cid)).shards)

    async def get_dag(self, root: CID) -> AsyncGenerator[Block, None]:
        """A DAG's blocks: an upload from its archives as a whole, anything below one by ranges."""
        try:
            upload = await self._known(root)
        except (NotFound, Unauthorized):
            if not await self._find(root):
                raise
            blocks = self._reader.below(root)
        else:
            blocks = self._reader.dag(root, upload.shards)
        async with aclosing(blocks):
            async for block in blocks:
                yield block

    async def has(self, cid: CID) -> bool:
        """Whether the space has an upload of this root, or by an index an archive with this block."""
        try:
            if self._api.gives("upload/get"):
                await self._asked(cid)
                return True
        except NotFound:
            pass
        if not await self._find(cid):
            return False
        place = self._reader.place(cid.multihash)
        if place is None or not self._api.gives("space/blob/get/0/1"):
            return place is not None
        try:
            await self._api.ask("space/blob/get/0/1", {"digest": place.shard})
        except NotFound:
            return False
        return True

    async def _known(self, root: CID) -> Upload:
        """An upload as it is remembered, else as the service tells it."""
        upload = self.uploads.get(root)
        if upload is None:
            return await self._asked(root)
        for blob in upload.shards:
            if blob.site is not None:
                self._reader.know(blob.digest, blob.site)
        return upload

    async def _find(self, cid: CID) -> bool:
        """Whether an index, now in memory, tells where a block is."""
        if self._reader.place(cid.multihash) is not None:
            return True
        failure: IPFSKitError | None = None
        async with aclosing(self._candidates(cid)) as candidates:
            async for index in candidates:
                try:
                    found = await self._reader.index(index)
                except _FAILED as error:
                    failure = error
                    continue
                if cid.multihash in found.places:
                    return True
        if failure is not None and cid not in self.uploads:
            raise failure
        return False

    async def _candidates(self, cid: CID) -> AsyncGenerator[Blob, None]:
        """Indexes that may tell where a block is and are not in memory, the likeliest first."""
        own = self.uploads.get(cid)
        if own is not None and own.index is not None:
            yield own.index
        if (claimed := await self._reader.claimed_index(cid.multihash)) is not None:
            yield claimed
        tried = 0
        for upload in list(self.uploads.values())[::-1]:
            if upload is not own and upload.index is not None and not self._reader.has_index(upload.index):
                for blob in upload.shards:
                    if blob.site is not None:
                        self._reader.know(blob.digest, blob.site)
                yield upload.index
                tried += 1
                if tried >= STORACHA_INDEX_TRIES:
                    return

    # --- all of it ----------------------------------------------------------------------------------------------------
    async def health(self) -> Health:
        """Whether the service answers to us, by what we have the right to ask."""
        started = trio.current_time()
        try:
            if self._api.gives("upload/list"):
                await self._api.ask("upload/list", {"size": 1})
            else:
                await self._api.http.call("GET", "", single=True)
        except NotFound:
            pass  # an answer, if only to say that there is no page
        except IPFSKitError as error:
            return Health(False, trio.current_time() - started, str(error))
        return Health(True, trio.current_time() - started)

    async def aclose(self) -> None:
        await self._api.aclose()


class _Body:
    """Bytes in pieces. No generator, so that it may be left anywhere."""

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)

    def __aiter__(self) -> _Body:
        return self

    async def __anext__(self) -> bytes:
        if not self._view:
            raise StopAsyncIteration
        head, self._view = self._view[: 1 << 18], self._view[1 << 18 :]
        return bytes(head)


def _root(row: Any) -> CID:
    root = row.get("root") if isinstance(row, dict) else None
    if not isinstance(root, CID):
        raise BackendError("the service tells of an upload without its root")
    return root
