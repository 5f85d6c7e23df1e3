"""Adding trees: read, cut, hash and store at the same time, in memory that does not grow with the tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import trio

from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.closing import finishing
from ipfs_kit_py.core.config import PUT_BATCH_BYTES
from ipfs_kit_py.core.errors import ConfigError
from ipfs_kit_py.dag.builder import FileBuilder, build_symlink
from ipfs_kit_py.dag.importer import TreeBuilder
from ipfs_kit_py.dag.profiles import V1_2025, Built, Profile, named
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

    from typing_extensions import Buffer

    from ipfs_kit_py.content.files import Entry
    from ipfs_kit_py.core.cid import CID, Block
    from ipfs_kit_py.dag.importer import Entry as Finished

    Put = Callable[[list[Block]], Awaitable[None]]

INLINE_HASH_BYTES = 64 << 10  # less than this is hashed at once: a worker thread costs more
BATCH_BLOCKS = 2048  # small blocks gathered for one transaction


class Row(NamedTuple):
    """A finished entry, or with ``cid`` ``None`` the bytes read so far of one.

    ``size`` of a finished one is its cumulative size in bytes. ``is_root``: nothing that was added contains it.
    """

    name: str
    cid: CID | None
    size: int
    is_root: bool = False


def chosen_profile(options: Mapping[str, object], default: str = V1_2025.name) -> Profile:
    """The profile of import options as the command line and the RPC name them: ``profile``, ``cid-version``,
    ``raw-leaves``, ``chunker`` (``size-BYTES``), ``hash``. Raises ``ConfigError``."""

    def text(name: str) -> str:
        return str(options.get(name) or "")

    profile = named(text("profile") or default)
    changes: dict[str, object] = {}
    if text("cid-version"):
        if text("cid-version") not in ("0", "1"):
            raise ConfigError(f"CID version {text('cid-version')!r} is not known; use 0 or 1")
        changes["cid_version"] = int(text("cid-version"))
    if text("raw-leaves"):
        changes["raw_leaves"] = text("raw-leaves") == "true"
    if text("chunker"):
        kind, _, size = text("chunker").partition("-")
        if kind != "size" or not size.isdecimal():
            raise ConfigError(f"chunker {text('chunker')!r} is not known; use size-BYTES")
        changes["chunk_size"] = int(size)
    if text("hash"):
        if text("hash") not in multihash.CODES:
            raise ConfigError(f"hash {text('hash')!r} is not known; use one of {', '.join(multihash.CODES)}")
        changes["hash_code"] = multihash.CODES[text("hash")]
    return profile.replace(**changes) if changes else profile


class _Adding:
    """Blocks that wait for their batch; a batch is stored while the next bytes are read and hashed."""

    def __init__(self, profile: Profile, put: Put | None) -> None:
        self._profile = profile
        self._put = put
        self._waiting: list[Block] = []
        self._bytes = 0

    def gather(self, blocks: list[Block]) -> None:
        if self._put is not None:
            self._waiting += blocks
            self._bytes += sum(memoryview(block.data).nbytes for block in blocks)

    def _batch(self) -> list[Block]:
        batch, self._waiting, self._bytes = self._waiting, [], 0
        return batch

    async def flush(self) -> None:
        if self._waiting and self._put is not None:
            await self._put(self._batch())

    async def file(self, chunks: AsyncIterator[Buffer], progress: Callable[[int], None] | None) -> Built:
        builder = FileBuilder(self._profile)
        async with finishing(chunks):
            piece = await anext(chunks, None)
            while piece is not None:
                piece = await self._step(builder, piece, chunks)
                if progress is not None:
                    progress(builder.size)
        built = builder.finish()
        self.gather(built.blocks)
        return built

    async def _step(self, builder: FileBuilder, piece: Buffer, chunks: AsyncIterator[Buffer]) -> Buffer | None:
        """Hash one piece while the last batch is stored and the next piece is read; returns the next piece."""
        small = memoryview(piece).nbytes < INLINE_HASH_BYTES
        full = self._bytes >= PUT_BATCH_BYTES or len(self._waiting) >= BATCH_BLOCKS
        if small and not full:  # tasks would cost more than they save
            self.gather(builder.write(piece))
            return await anext(chunks, None)
        following: list[Buffer | None] = []
        failures: list[Exception] = []

        async def guarded(function: Callable[[], Awaitable[None]]) -> None:
            try:
                await function()
            except Exception as error:  # noqa: BLE001 - raised again below, alone
                failures.append(error)
                nursery.cancel_scope.cancel()

        async def read() -> None:
            following.append(await anext(chunks, None))

        async def hash_piece() -> None:
            if small:
                self.gather(builder.write(piece))
            else:
                self.gather(await threads.run(Pool.WORK, builder.write, piece))

        batch = self._batch() if full else []

        async def store() -> None:
            if batch and self._put is not None:
                await self._put(batch)

        async with trio.open_nursery() as nursery:
            for job in (store, read, hash_piece):
                nursery.start_soon(guarded, job)
        if failures:
            raise failures[0]
        return following[0]


async def add_entries(
    entries: AsyncIterator[Entry],
    profile: Profile,
    *,
    put: Put | None,
    wrap: bool = False,
    progress: Callable[[str, int], None] | None = None,
) -> AsyncGenerator[Row, None]:
    """Add entries in the order of a walk; yields a row for each that is finished, children first.

    ``put`` stores a batch of blocks (``None``: only hash); all were stored before the last row comes. ``wrap`` puts
    everything into one directory. ``progress(path, bytes)`` is told how much of a file is done. ``InvalidName`` for
    names that no tree may have; errors of reading and storing come through. ``entries`` is closed at the end.
    """
    adding = _Adding(profile, put)
    tree = TreeBuilder(profile)
    rows: list[Row] = []

    def left(finished: list[tuple[Finished, Built]]) -> None:
        for entry, built in finished:
            adding.gather(built.blocks)
            rows.append(Row(entry.path, entry.cid, entry.tsize, is_root="/" not in entry.path and not wrap))

    async with finishing(entries):
        async for entry in entries:
            if entry.kind == "directory":
                left(tree.enter(entry.path))
            elif entry.kind == "symlink":
                left(tree.add_symlink(entry.path, entry.target))
            elif entry.chunks is not None:
                tell = None if progress is None else (lambda done, path=entry.path: progress(path, done))
                built = await adding.file(entry.chunks(), tell)
                path = entry.path or str(built.cid)
                left(tree.add(path, built))
                rows.append(Row(path, built.cid, built.tsize, is_root="/" not in path and not wrap))
            while len(rows) > 1:  # the newest waits until it is known whether it is the last
                yield rows.pop(0)
    root, finished = tree.finish()
    left(finished)
    if wrap:
        adding.gather(root.blocks)
        rows.append(Row("", root.cid, root.tsize, is_root=True))
    await adding.flush()
    for row in rows:
        yield row


async def add_files(
    entries: AsyncIterator[Entry], profile: Profile, *, put: Put
) -> AsyncGenerator[tuple[Entry, Built | None], None]:
    """Add files and links, each by itself; each comes with what it was built to, ``None`` for a directory. All blocks
    are stored before the iterator ends. ``entries`` is closed at the end."""
    adding = _Adding(profile, put)
    async with finishing(entries):
        async for entry in entries:
            if entry.kind == "symlink":
                built = build_symlink(entry.target, profile)
                adding.gather(built.blocks)
                yield entry, built
            elif entry.chunks is not None:
                yield entry, await adding.file(entry.chunks(), None)
            else:
                yield entry, None
    await adding.flush()
