"""A Kubo daemon as a remote tier, by its RPC: blocks and archives in and out, pins, and files by its own importer.

Source: docs.ipfs.tech/reference/kubo/rpc, tried on Kubo 0.43.1.
"""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from ipfs_kit_py.core.cid import CID, CODEC_NAMES, Block
from ipfs_kit_py.core.config import API_MAX_CONNECTIONS, API_SECONDS, MAX_CAR_SECTION_BYTES
from ipfs_kit_py.core.errors import (
    BackendError,
    ConfigError,
    HashMismatch,
    InvalidCID,
    IPFSKitError,
    LocalError,
    NotFound,
)
from ipfs_kit_py.core.multihash import IDENTITY
from ipfs_kit_py.core.multihash import name as hash_name
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.remote.archive import Archive, collected
from ipfs_kit_py.storage.remote.archive_body import ArchiveBody
from ipfs_kit_py.storage.remote.base import Health, Status, retried
from ipfs_kit_py.storage.remote.http.client import Http, NoConnection, StreamFailed
from ipfs_kit_py.storage.remote.intake import Intake
from ipfs_kit_py.storage.remote.kubo.rpc import Rpc
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    import random
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable

    from typing_extensions import Buffer

    from ipfs_kit_py.storage.remote.http.client import Answer

T = TypeVar("T")


class KuboTier:
    """The daemon at ``endpoint``, the URL that ``/api/v0`` is below, or the multiaddr in ``$IPFS_PATH/api``.

    ``offline``: the daemon gives only what it holds, where it would else ask its network. ``token`` or ``login`` is
    what ``API.Authorizations`` of its configuration wants. ``seconds``: what a call may take with its repetitions, and
    each ``API_PROGRESS_BYTES`` of a stream. ``ConfigError`` for an endpoint that cannot be used.
    """

    verbs = frozenset({"get", "get_dag", "has", "put", "remove", "status"})

    def __init__(
        self,
        endpoint: str,
        *,
        rng: random.Random,
        name: str = "kubo",
        offline: bool = False,
        token: str = "",
        login: tuple[str, str] | None = None,
        seconds: float = API_SECONDS,
        tls: ssl.SSLContext | None = None,
        connections: int = API_MAX_CONNECTIONS,
    ) -> None:
        base = f"{_url(endpoint).rstrip('/')}/api/v0"
        self._http = Http(base, token=token, login=login, seconds=seconds, tls=tls, connections=connections)
        self._rpc = Rpc(self._http)
        self._rng = rng
        self._offline = True if offline else None
        self.name = name
        self.seconds = seconds

    def __repr__(self) -> str:
        return f"<KuboTier {self._http.base}>"

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _retried(self, work: Callable[[], Awaitable[T]], what: str) -> T:
        return await retried(work, self._rng, seconds=self.seconds, what=f"{self.name}: {what}")

    # --- blocks -------------------------------------------------------------------------------------------------------
    async def get(self, cid: CID) -> bytes:
        """One block, verified. Raises as the Protocol of remote tiers says."""
        cid.check_allowed()
        if cid.multihash[0] == IDENTITY:
            return cid.digest
        call = partial(self._rpc.data, "block/get", str(cid), limit=MAX_CAR_SECTION_BYTES, offline=self._offline)
        data = await self._retried(call, f"block {cid}")
        if not await threads.run(Pool.WORK, cid.verify, data):
            raise HashMismatch(f"{self.name}: the bytes of block {cid} have another hash", peer=self.name, expected=cid)
        return data

    async def has(self, cid: CID) -> bool:
        """Whether the daemon holds the block."""
        try:
            await self._retried(partial(self._rpc.value, "block/stat", str(cid), offline=True), f"block {cid}")
        except NotFound:
            return False
        return True

    async def put_block(self, block: Block, *, pin: bool = False) -> None:
        """Store one block, which the daemon may drop when it collects its garbage unless ``pin``.

        ``BackendError`` where it stores it under another CID."""
        cid, data = block.cid, bytes(block.data)
        codec = CODEC_NAMES.get(cid.codec, hex(cid.codec))
        options = {"cid_codec": codec, "mhtype": hash_name(cid.hash_code), "mhlen": len(cid.digest), "pin": pin}

        async def once() -> str:
            take = partial(self._last, verb="block/put", key="Key")
            return await self._rpc.upload("block/put", _Pieces([data]), take, allow_big_block=True, **options)

        found = CID.parse(await self._retried(once, f"block {cid}"))
        if found.multihash != cid.multihash:
            raise BackendError(f"{self.name}: stored block {cid} as {found}")

    # --- DAGs ---------------------------------------------------------------------------------------------------------
    async def get_dag(self, root: CID) -> AsyncGenerator[Block, None]:
        """The blocks of a DAG as they come, parents first, each verified and once; close it when leaving early.

        Where the daemon's archive is cut, the rest comes block by block. Besides what the Protocol says it raises
        ``InvalidBlock`` and ``NotSupported`` for a block whose links cannot be read. Identity CIDs carry their block:
        they are not among them.
        """
        intake = Intake(root)
        if intake.done:
            return

        async def begun() -> tuple[Archive, list[Block]]:
            answer = await self._rpc.open("dag/export", str(root), progress=False, offline=self._offline)
            archive = Archive(answer, intake, source=self.name, most=MAX_CAR_SECTION_BYTES)
            try:
                return archive, await archive.more()
            except BaseException:
                await archive.aclose()
                raise

        try:
            archive, first = await self._retried(begun, f"archive of {root}")
        except StreamFailed as error:
            raise self._rpc.meant(error, "dag/export") from None
        async with aclosing(collected(archive, self.get, self._ended, first)) as blocks:
            async for block in blocks:
                yield block

    def _ended(self, error: IPFSKitError | None) -> None:
        if isinstance(error, StreamFailed):
            raise self._rpc.meant(error, "dag/export") from None
        if isinstance(error, LocalError | HashMismatch):
            raise error

    async def put(self, root: CID, blocks: AsyncIterable[Block], *, label: str = "") -> Status:
        """Store a whole DAG and pin it, by the name ``label`` where there is one.

        ``HashMismatch`` for a block that is not what its CID names, ``InvalidBlock`` where one lacks: nothing is pinned
        then, and what was stored the daemon drops when it collects its garbage.
        """
        body = ArchiveBody(root, blocks)
        verb = "dag/import"
        options = {"pin_roots": True, "allow_big_block": True}
        upload = partial(self._rpc.upload, verb, body, partial(self._pinned, root), **options)
        try:
            await upload()
        except NoConnection:  # nothing of the blocks was read
            await self._retried(partial(self._rpc.value, "version"), verb)
            await upload()
        if label:
            await self.pin(root, label=label)
        return Status(root, "recursive", True, 1)

    async def _pinned(self, root: CID, answer: Answer) -> None:
        pinned = False
        async with aclosing(self._rpc.rows_of(answer, "dag/import")) as rows:
            async for row in rows:
                found = row.get("Root")
                if not isinstance(found, dict) or _cid(found.get("Cid")).multihash != root.multihash:
                    continue
                if problem := found.get("PinErrorMsg"):
                    raise BackendError(f"{self.name}: cannot pin {root}: {self._http.words(str(problem))}")
                pinned = True
        if not pinned:
            raise BackendError(f"{self.name}: does not say that {root} is pinned")

    # --- pins ---------------------------------------------------------------------------------------------------------
    async def pin(self, root: CID, *, label: str = "") -> None:
        """Have the daemon fetch a whole DAG and keep it; it goes on as long as more blocks come within ``seconds``."""
        known = -1

        def more(row: dict[str, Any]) -> bool:
            nonlocal known
            count = row.get("Progress", 0)
            grown = isinstance(count, int) and count > known
            known = count if grown else known
            return grown

        pinned = False
        rows = self._rpc.rows("pin/add", str(root), progress=True, name=label or None, moved=more)
        async with aclosing(rows):
            async for row in rows:
                pinned = pinned or "Pins" in row
        if not pinned:
            raise BackendError(f"{self.name}: does not say that {root} is pinned")

    async def remove(self, root: CID) -> None:
        """Unpin a DAG. No error where it was not pinned."""
        try:
            await self._retried(partial(self._rpc.value, "pin/rm", str(root)), f"pin of {root}")
        except BackendError as error:
            if "not pinned" not in str(error):
                raise

    async def status(self, root: CID) -> Status:
        """Whether a DAG is pinned; ``NotFound`` where it is not. ``state`` is the kind of pin; ``safe`` where it holds
        the whole DAG."""
        found = await self._retried(
            partial(self._rpc.value, "pin/ls", str(root), type="all", names=True), f"pin of {root}"
        )
        keys = found.get("Keys")
        row = next(iter(keys.values()), None) if isinstance(keys, dict) else None
        if not isinstance(row, dict) or not isinstance(row.get("Type"), str):
            raise BackendError(f"{self.name}: says nothing of the pin of {root}")
        kind = row["Type"].partition(" ")[0]  # "indirect through" another root
        name = row.get("Name")
        detail = {"name": name} if isinstance(name, str) and name else {}
        return Status(root, kind, kind in ("recursive", "indirect"), 1, detail=detail)

    async def pins(self, kind: str = "recursive") -> AsyncGenerator[CID, None]:
        """The CIDs pinned: ``recursive``, ``direct``, ``indirect`` or ``all``."""
        async with aclosing(self._rpc.rows("pin/ls", type=kind, stream=True)) as rows:
            async for row in rows:
                yield _cid(row.get("Cid"))

    async def refs(self, root: CID) -> AsyncGenerator[CID, None]:
        """The CIDs below a root, each once, as the daemon tells them: not verified."""
        rows = self._rpc.rows("refs", str(root), recursive=True, unique=True, offline=self._offline)
        async with aclosing(rows):
            async for row in rows:
                if problem := row.get("Err"):
                    raise self._rpc.failure(str(problem), "refs")
                yield _cid(row.get("Ref"))

    # --- files --------------------------------------------------------------------------------------------------------
    async def add(self, content: AsyncIterable[Buffer], *, pin: bool = True, **options: Any) -> CID:
        """Have the daemon import a file; the CID that it says. ``options`` are those of ``ipfs add``, such as
        ``cid_version=1, raw_leaves=True, chunker="size-1048576"``."""
        take = partial(self._last, verb="add", key="Hash")
        return CID.parse(await self._rpc.upload("add", content, take, pin=pin, progress=False, **options))

    async def cat(self, path: str, *, offset: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """A file's bytes as the daemon reads them: not verified. ``path`` is a CID or ``/ipfs/…``."""
        answer = await self._rpc.open("cat", path, offset=offset, length=length, offline=self._offline)
        try:
            async for data in answer:
                yield bytes(data)
        except StreamFailed as error:
            raise self._rpc.meant(error, "cat") from None
        finally:
            await answer.aclose()

    async def _last(self, answer: Answer, *, verb: str, key: str) -> str:
        found = None
        async with aclosing(self._rpc.rows_of(answer, verb)) as rows:
            async for row in rows:
                found = row.get(key)
        if not isinstance(found, str):
            raise BackendError(f"{self.name}: {verb} names no CID")
        return found

    async def health(self) -> Health:
        """Whether the daemon answers; ``detail`` is its version."""
        started = trio.current_time()
        try:
            found = await self._rpc.value("version")
        except IPFSKitError as error:
            return Health(False, trio.current_time() - started, str(error))
        version = self._http.words(str(found.get("Version", "?")))
        return Health(True, trio.current_time() - started, f"kubo {version}")


class _Pieces:
    """Buffers as an async iterator that may be left anywhere."""

    def __init__(self, pieces: list[Buffer]) -> None:
        self._pieces = iter(pieces)

    def __aiter__(self) -> _Pieces:
        return self

    async def __anext__(self) -> Buffer:
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


def _cid(value: Any) -> CID:
    """A CID of an answer: text, or a link of dag-json."""
    text = value.get("/") if isinstance(value, dict) else value
    try:
        return CID.parse(text)  # type: ignore[arg-type]
    except InvalidCID:
        raise BackendError("the daemon's answer has no CID where one belongs") from None


def _url(endpoint: str) -> str:
    """A URL as it is; of a multiaddr such as ``/ip4/127.0.0.1/tcp/5001`` the URL."""
    if not endpoint.startswith("/"):
        return endpoint
    parts = endpoint.strip().strip("/").split("/")
    if len(parts) in (4, 5) and parts[0] in _HOSTS and parts[2] == "tcp" and parts[4:] in ([], ["http"], ["https"]):
        host = f"[{parts[1]}]" if parts[0] == "ip6" else parts[1]
        return f"{(parts[4:] or ['http'])[0]}://{host}:{parts[3]}"
    raise ConfigError(f"{endpoint!r} is no address of an RPC; use http://HOST:PORT or /ip4/ADDRESS/tcp/PORT")


_HOSTS = frozenset({"ip4", "ip6", "dns", "dns4", "dns6"})
