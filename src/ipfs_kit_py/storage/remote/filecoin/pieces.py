"""Pieces fetched back over HTTP, and the DAG in them: ``GET /piece/{PieceCID}`` as Curio and Boost serve it.

A piece is checked as a whole against its commitment, the blocks in it one by one against their CIDs. Where an answer
is cut it goes on from there. Source: FRC-0066 (piece gateway); curio market/retrieval.
"""

from __future__ import annotations

import re
import tempfile
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Self

import trio

from ipfs_kit_py.core.cid import Block
from ipfs_kit_py.core.config import (
    API_PROGRESS_BYTES,
    API_SECONDS,
    MAX_PLAN_LINKS,
    PIECE_FIRST_BYTES,
    PIECE_PARKED_BLOCKS,
    PIECE_POP_BYTES,
)
from ipfs_kit_py.core.errors import BackendError, HashMismatch, InvalidBlock, IPFSKitError, NotFound
from ipfs_kit_py.core.multihash import IDENTITY
from ipfs_kit_py.dag import codecs
from ipfs_kit_py.dag.car import CarReader
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.remote.base import RETRIES, RETRY_BASE_SECONDS, RETRY_MAX_SECONDS, Health, Transient
from ipfs_kit_py.storage.remote.filecoin.commp_pool import PieceHasher
from ipfs_kit_py.storage.remote.http.api import Api
from ipfs_kit_py.storage.remote.http.client import Answer
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    import random
    import ssl
    from collections.abc import AsyncGenerator, Iterable, Sequence
    from pathlib import Path

    from ipfs_kit_py.core.cid import CID
    from ipfs_kit_py.storage.remote.filecoin.commp import Piece

_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15}|\*)")


class PieceSource:
    """A provider at ``endpoint``, the URL that ``/piece`` is below."""

    def __init__(
        self,
        endpoint: str,
        *,
        rng: random.Random,
        token: str = "",
        seconds: float = API_SECONDS,
        workers: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._api = Api(endpoint, token=token, rng=rng, seconds=seconds, tls=tls)
        self._rng = rng
        self._workers = workers
        self.host = self._api.host

    def __repr__(self) -> str:
        return f"<PieceSource {self._api.base}>"

    async def aclose(self) -> None:
        await self._api.aclose()

    async def health(self) -> Health:
        """Whether the host answers at all, to whatever path."""
        started = trio.current_time()
        try:
            await self._api.call("GET", "piece/", single=True)
        except NotFound:
            pass
        except Transient as error:
            return Health(False, trio.current_time() - started, str(error))
        except IPFSKitError as error:
            return Health(True, trio.current_time() - started, str(error))
        return Health(True, trio.current_time() - started)

    async def raw(self, piece: Piece) -> AsyncGenerator[bytes, None]:
        """A piece's payload as the provider gives it, unverified but for its length. Goes on where it was cut."""
        at = failed = 0
        while at < piece.payload:
            begun = at
            try:
                async with aclosing(self._from(piece, at)) as chunks:
                    async for chunk in chunks:
                        at += len(chunk)
                        if at > piece.payload:
                            raise HashMismatch(
                                f"{self.host} gives more than the {piece.payload} bytes of {piece}", peer=self.host
                            )
                        yield chunk
                if at < piece.payload:
                    raise Transient(f"{self.host} gave {at} of the {piece.payload} bytes of {piece}")
            except Transient as error:
                failed = 1 if at - begun >= API_PROGRESS_BYTES else failed + 1  # a trickle is none
                if failed > RETRIES:
                    raise
                pause = RETRY_BASE_SECONDS * (1 << failed) * (1 + self._rng.random())
                await trio.sleep(min(max(pause, error.after or 0.0), RETRY_MAX_SECONDS))

    async def _from(self, piece: Piece, at: int) -> AsyncGenerator[bytes, None]:
        headers = {"Range": f"bytes={at}-"} if at else {}
        skip = at
        async with aclosing(self._api.stream(f"piece/{piece}", headers=headers)) as parts:
            async for part in parts:
                if isinstance(part, Answer):
                    skip = self._skipped(part, piece, at)
                elif skip < len(part):
                    yield part[skip:]
                    skip = 0
                else:
                    skip -= len(part)

    def _skipped(self, answer: Answer, piece: Piece, at: int) -> int:
        """How much of the answer is in front of what was asked for."""
        if answer.status == 206:
            found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
            if found is None or int(found[1]) != at:
                raise BackendError(f"{self.host}: asked for {piece} from byte {at}, it gives another range")
            return 0
        length = answer.headers.get("content-length", "")
        if length.isdecimal() and int(length) != piece.payload:
            raise HashMismatch(
                f"{self.host} gives {length} bytes for {piece}, which has {piece.payload}", peer=self.host
            )  # fmt: skip
        return at

    async def payload(self, piece: Piece) -> AsyncGenerator[bytes, None]:
        """A piece's payload; ``HashMismatch`` after its last byte where it is not what the commitment names."""
        async with PieceHasher(self._workers) as hasher, aclosing(self.raw(piece)) as chunks:
            async for chunk in chunks:
                await hasher.feed(chunk)
                yield chunk
            found = await hasher.finish()
        if found != piece:
            raise HashMismatch(
                f"{self.host}: asked for {piece}, its bytes are {found}",
                peer=self.host,
                expected=piece.v2,
                actual=found.v2,
            )

    async def blocks(
        self, root: CID, pieces: Sequence[Piece], *, folder: Path | None = None
    ) -> AsyncGenerator[Block, None]:
        """The blocks of a DAG that is in archives in ``pieces``, each once, verified and reached from ``root``.

        They come as soon as what links to them has come, at the latest with the last piece, parents first.
        ``HashMismatch`` where a block or, at its end, a piece is false; ``NotFound`` where blocks lack in the end.
        """
        with Sieve(root, folder) as sieve:
            for piece in pieces:
                reader = CarReader(verify=False)
                async with aclosing(self.payload(piece)) as chunks:
                    async for chunk in chunks:
                        more = await threads.run(Pool.WORK, self._sift, sieve, reader, chunk, piece)
                        while more:
                            for block in more:
                                yield block
                            more = await threads.run(Pool.WORK, sieve.pop)
                self._ended(reader, piece)
            if (lack := sieve.lacking()) is not None:
                raise NotFound(f"{self.host}: the archives of {root} lack its block {lack}", cid=lack)

    def _sift(self, sieve: Sieve, reader: CarReader, chunk: bytes, piece: Piece) -> list[Block]:
        try:
            found = reader.feed(chunk)
        except InvalidBlock as error:
            raise BackendError(f"{self.host}: in {piece} there is no archive: {error}") from None
        for cid, data in found:
            if not cid.verify(data):
                raise HashMismatch(f"{self.host}: block {cid} in {piece} is false", peer=self.host, expected=cid)
        sieve.push(found)
        return sieve.pop()

    def _ended(self, reader: CarReader, piece: Piece) -> None:
        try:
            reader.close()
        except InvalidBlock as error:
            raise BackendError(f"{self.host}: the archive in {piece}: {error}") from None

    async def first(self, cid: CID, piece: Piece) -> bytes:
        """One block, by reading a piece from its beginning until the block is there; ``NotFound`` where it is not in
        the first ``PIECE_FIRST_BYTES``."""
        reader = CarReader(verify=False)
        size = 0
        async with aclosing(self.raw(piece)) as chunks:
            async for chunk in chunks:
                try:
                    found = reader.feed(chunk)
                except InvalidBlock as error:
                    raise BackendError(f"{self.host}: in {piece} there is no archive: {error}") from None
                for block in found:
                    if block.cid.multihash == cid.multihash:
                        if not cid.verify(block.data):
                            raise HashMismatch(
                                f"{self.host}: block {cid} in {piece} is false", peer=self.host, expected=cid
                            )
                        return bytes(block.data)
                size += len(chunk)
                if size > PIECE_FIRST_BYTES:
                    break
        raise NotFound(f"{self.host}: {piece} does not begin with block {cid}", cid=cid)


class Sieve:
    """Lets verified blocks through that are of a DAG, in whatever order they come: ``push`` them, then ``pop`` until
    nothing comes. Those that nothing links to yet wait on the disk. A context manager; it does blocking I/O."""

    def __init__(self, root: CID, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115 - it is closed by __exit__
        self._end = 0
        self._parked: dict[bytes, tuple[int, int]] = {}  # by multihash: offset and size in the file
        self._wanted: dict[bytes, list[CID]] = {}  # linked to, not yet here; several where codecs differ
        self._known: set[bytes] = set()  # CIDs met, as version 1
        self._ready: deque[Block | tuple[CID, int, int]] = deque()
        self._want(root)

    def push(self, blocks: Iterable[Block]) -> None:
        """Blocks whose hash was checked. ``BackendError`` where too many wait."""
        for block in blocks:
            key = block.cid.multihash
            if key in self._wanted:
                self._ready.extend(Block(cid, block.data) for cid in self._wanted.pop(key))
            elif key not in self._parked:
                self._park(key, block)

    def _park(self, key: bytes, block: Block) -> None:
        if len(self._parked) >= PIECE_PARKED_BLOCKS:
            raise BackendError(f"more than {PIECE_PARKED_BLOCKS} blocks of an archive come before what links to them")
        view = memoryview(block.data)
        self._parked[key] = (self._end, view.nbytes)
        self._file.seek(self._end)
        self._end += view.nbytes
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise BackendError(f"blocks of an archive cannot be kept on the disk: {error.strerror}") from None

    def pop(self) -> list[Block]:
        """The next blocks of the DAG, at most about ``PIECE_POP_BYTES``; none where more must come first."""
        found: list[Block] = []
        size = 0
        while self._ready and size < PIECE_POP_BYTES:
            block = self._read(self._ready.popleft())
            for link in codecs.links(block.cid, block.data):
                self._want(link)
            found.append(block)
            size += memoryview(block.data).nbytes
        return found

    def _read(self, item: Block | tuple[CID, int, int]) -> Block:
        if isinstance(item, Block):
            return item
        cid, at, size = item
        self._file.seek(at)
        data = self._file.read(size)
        if len(data) != size or not cid.verify(data):
            raise BackendError("a block that was kept on the disk is not what it was")
        return Block(cid, data)

    def _want(self, cid: CID) -> None:
        """Each CID once; of those that carry their content, what they link to."""
        waiting = [cid]
        while waiting:
            cid = waiting.pop()
            key = cid.to_v1().raw
            if key in self._known:
                continue
            if len(self._known) >= MAX_PLAN_LINKS:
                raise BackendError(f"a DAG of more than {MAX_PLAN_LINKS} blocks is too much for one reading")
            self._known.add(key)
            if cid.hash_code == IDENTITY:
                waiting += codecs.links(cid, cid.check_allowed().digest)
            elif (place := self._parked.get(cid.multihash)) is not None:
                self._ready.append((cid, *place))
            else:
                self._wanted.setdefault(cid.multihash, []).append(cid)

    def lacking(self) -> CID | None:
        """A block that is linked to and never came, ``None`` where all are here."""
        return next((cids[0] for cids in self._wanted.values()), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._file.close()
