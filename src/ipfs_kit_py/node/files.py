"""The node's verbs on files that change: a tree whose root is kept by name, over DAGs that do not change (MFS).

The root is a record of the store; a change stores its blocks first and then moves the root, if it is still the one that
the change began with: else it begins anew. So nothing is lost between tasks, nor between processes on one repo.
"""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.content import fetch as dags
from ipfs_kit_py.content.add import add_files, chosen_profile
from ipfs_kit_py.content.files import Entry as Sent
from ipfs_kit_py.content.tree import DIRECTORY, DirEntry, kind_of
from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.closing import finishing
from ipfs_kit_py.core.config import MFS_ATTEMPTS, MFS_BATCH_ENTRIES, MFS_ZERO_BYTES
from ipfs_kit_py.core.errors import InvalidCID, InvalidName, LocalError, NotAFile, NotFound, StorageError, TooLarge
from ipfs_kit_py.dag import mfs
from ipfs_kit_py.dag.builder import NO_STAT
from ipfs_kit_py.dag.mfs import Changes, Entry, Removal, segments, text
from ipfs_kit_py.node.base import Services
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import Block
    from ipfs_kit_py.dag.profiles import Built, Profile, Stat

logger = logging.getLogger(__name__)

_SPACE, _ROOT = b"mfs", b"root"
IMMUTABLE = ("/ipfs/", "/ipns/", "ipfs://", "ipns://")


class FileStat(NamedTuple):
    """What is at a path: its CID, its kind (file, directory, symlink), a file's bytes, the bytes of all its blocks as
    its links say, how many links its root has, and what UnixFS tells besides: permissions, and time as (seconds,
    nanoseconds)."""

    cid: CID
    kind: str
    size: int
    cumulative: int
    links: int
    stat: Stat = NO_STAT


class Changed(NamedTuple):
    """What a change made: the new root, and what was put, by path."""

    root: CID
    put: list[tuple[str, Entry]]


class FileVerbs(Services):
    """Paths are ``/a/b`` in the tree that changes; where something is read from, ``/ipfs/…`` and ``/ipns/…`` too."""

    # --- the root -----------------------------------------------------------------------------------------------------

    async def files_root(self) -> CID:
        """The root of the tree as it is now; an empty directory before the first change."""
        return self._root_of(await threads.run(Pool.WORK, self._store.records.get, _SPACE, _ROOT))

    def _root_of(self, record: bytes | None) -> CID:
        if record is None:
            return mfs.empty_directory(self._profile({})).cid
        try:
            return CID.from_bytes(record)
        except InvalidCID as error:
            raise StorageError(
                f"the record of the root of the files is damaged ({error}); its trees are still in the store: "
                "`files rm -r --force /` begins anew"
            ) from None

    def _profile(self, options: Mapping[str, object]) -> Profile:
        return chosen_profile(options, self.config.profile)

    async def _change(
        self, profile: Profile, changes: Callable[[CID], Awaitable[Changes]], *, parents: bool = False
    ) -> CID:
        """Make changes to the root as it is now, and store the result. ``changes(root)`` gives them."""
        for _attempt in range(MFS_ATTEMPTS):
            record = await threads.run(Pool.WORK, self._store.records.get, _SPACE, _ROOT)
            root = self._root_of(record)
            with self._store.hold():
                if record is None:
                    await self._source.put_many(mfs.empty_directory(self._profile({})).blocks, kept=True)
                wanted = await changes(root)
                with self._source.session() as session:
                    built: Built = await session.run(wanted.apply(root, profile, parents=parents))
                await self._source.put_many(built.blocks, kept=True)
                swap = (_SPACE, _ROOT, record, built.cid.raw)
                if await threads.run(Pool.WORK, self._store.records.swap, *swap):
                    return built.cid
        raise StorageError(f"the files are changed by others all the time: gave up after {MFS_ATTEMPTS} attempts")

    # --- reading ------------------------------------------------------------------------------------------------------

    async def files_path(self, path: str) -> str:
        """``path`` as one that does not change: one in the tree below its root as it is now."""
        if path.startswith(IMMUTABLE):
            return path
        if not path.startswith("/"):
            raise InvalidName(f"{path!r} is no path of the files: it begins with /, as /a/b")
        names = segments(path)
        await self._need_root()
        return "/".join([f"/ipfs/{await self.files_root()}", *names])

    async def files_stat(self, path: str) -> FileStat:
        """What is at a path; its root block and the directories on the way are all that is read."""
        cid = await self._root(await self.files_path(path))
        with self._source.session() as session:
            data = await session.get(cid)
            weight = await session.run(mfs.weigh(cid))
        try:
            kind = kind_of(cid, data)
        except NotAFile:
            return FileStat(cid, "file", len(data), weight.tsize, 0)
        links = mfs.count_links(cid, data)
        return FileStat(cid, kind.name, kind.size or 0, weight.tsize, links, mfs.stat_of(cid, data))

    async def _need_root(self) -> None:
        """The empty directory is in the store before anything else is."""
        if await threads.run(Pool.WORK, self._store.records.get, _SPACE, _ROOT) is None:
            await self._source.put_many(mfs.empty_directory(self._profile({})).blocks, kept=True)

    async def files_ls(self, path: str) -> AsyncGenerator[DirEntry, None]:
        """A directory's entries, as ``ls``; a file's own."""
        found = await self.files_stat(path)
        if found.kind != DIRECTORY:
            yield DirEntry(path.rstrip("/").rpartition("/")[2], found.cid, found.kind, found.size)
            return
        async with aclosing(self.ls(await self.files_path(path))) as entries:  # type: ignore[attr-defined]
            async for entry in entries:
                yield entry

    # --- writing ------------------------------------------------------------------------------------------------------

    async def files_write(
        self, path: str, chunks: AsyncIterator[Buffer], *, offset: int = 0, create: bool = False,
        truncate: bool = False, parents: bool = False, options: Mapping[str, object] | None = None,
    ) -> CID:  # fmt: skip
        """Write to a file from ``offset`` on, and return the new root. ``create`` makes it where it is not there,
        ``truncate`` forgets what it had; else what is not written over stays. Between its end and ``offset`` there are
        zeros. ``parents`` makes the directories above. ``options`` as those of ``add``. ``LocalError`` where others
        changed the file meanwhile.
        """
        if offset < 0:
            raise LocalError(f"the offset is 0 or more bytes, not {offset}")
        names = segments(_changeable(path))
        if not names:
            raise NotAFile("/ is a directory; name a file below it")
        profile = self._profile(options or {})
        old = await self._old(names, create=create)
        with self._store.hold():
            anew = old is None or truncate
            new = _padded(offset, chunks) if old is None or truncate else self._merged(old, chunks, offset)
            async with aclosing(add_files(_one(new), profile, put=self._put_kept)) as built:
                made = [found async for _entry, found in built if found is not None]
            entry = Entry(made[-1].cid, made[-1].tsize)

            async def changes(root: CID) -> Changes:
                if not anew and await self._find(root, names) != old:
                    raise LocalError(f"{text(names)} was changed by others while it was written; write again")
                wanted = Changes()
                wanted.put(names, entry)
                return wanted

            return await self._change(profile, changes, parents=parents)

    async def _put_kept(self, blocks: list[Block]) -> None:
        await self._source.put_many(blocks, kept=True)

    async def _old(self, names: mfs.Path, *, create: bool) -> CID | None:
        await self._need_root()
        root = await self.files_root()
        with self._source.session() as session:
            found = await session.run(mfs.find(root, names))
            if found is None and not create:
                raise NotFound(f"{text(names)} is not there; create it (--create)")
            if found is not None and kind_of(found, await session.get(found)).name == DIRECTORY:
                raise NotAFile(f"{text(names)} is a directory; name a file")
        return found

    async def _merged(self, old: CID, chunks: AsyncIterator[Buffer], offset: int) -> AsyncGenerator[Buffer, None]:
        at = 0
        async with self._trees.file(old, 0, offset) as pieces:
            async for piece in pieces:
                at += memoryview(piece).nbytes
                yield piece
        async with aclosing(_padded(offset - at, chunks)) as rest:
            async for chunk in rest:
                at += memoryview(chunk).nbytes
                yield chunk
        async with self._trees.file(old, at) as pieces:
            async for piece in pieces:
                yield piece

    async def files_batch(
        self, entries: AsyncIterator[Sent], *, options: Mapping[str, object] | None = None
    ) -> Changed:
        """Put many files, links and empty directories at once, at their paths in the tree: all of them or none is
        there then. Directories on the way are made."""
        profile, changes = self._profile(options or {}), Changes()
        put: list[tuple[str, Entry]] = []
        with self._store.hold():
            async with aclosing(add_files(entries, profile, put=self._put_kept)) as built:
                async for sent, found in built:
                    names = segments(sent.path)
                    if found is None:
                        changes.make_directory(names)
                    else:
                        entry = Entry(found.cid, found.tsize)
                        changes.put(names, entry)
                        put.append((text(names), entry))
                    if changes.count > MFS_BATCH_ENTRIES:
                        raise TooLarge(f"more than {MFS_BATCH_ENTRIES} files at once; put them in several batches")

            async def wanted(_root: CID) -> Changes:
                return changes

            return Changed(await self._change(profile, wanted, parents=True), put)

    # --- the tree -----------------------------------------------------------------------------------------------------

    async def files_mkdir(
        self, path: str, *, parents: bool = False, options: Mapping[str, object] | None = None
    ) -> CID:
        """Make a directory, with ``parents`` those above it too; the new root. ``InvalidName`` where something is there
        already, unless it is a directory and ``parents`` is given."""
        names = segments(_changeable(path))

        async def changes(root: CID) -> Changes:
            wanted = Changes()
            if not parents and (not names or await self._find(root, names) is not None):
                raise InvalidName(f"{text(names)} is there already; give another name, or ask for parents (-p)")
            wanted.make_directory(names)
            return wanted

        return await self._change(self._profile(options or {}), changes, parents=parents)

    async def files_cp(
        self, source: str, dest: str, *, parents: bool = False, options: Mapping[str, object] | None = None
    ) -> CID:
        """Have what is at ``source`` at ``dest`` too, into it where it is a directory; the new root. Nothing is fetched
        but the root block. ``InvalidName`` where something is there already."""
        cid = await self._root(await self.files_path(source))
        with self._source.session() as session:
            entry = await session.run(mfs.weigh(cid))

        async def changes(root: CID) -> Changes:
            names = await self._into(root, source, dest)
            if await self._find(root, names) is not None:
                raise InvalidName(f"{text(names)} is there already; remove it first, or give another name")
            wanted = Changes()
            wanted.put(names, entry)
            return wanted

        return await self._change(self._profile(options or {}), changes, parents=parents)

    async def files_mv(self, source: str, dest: str, *, options: Mapping[str, object] | None = None) -> CID:
        """Move, into ``dest`` where that is a directory; a file there is replaced. The new root."""
        names = segments(_changeable(source))

        async def changes(root: CID) -> Changes:
            found = None if not names else await self._find(root, names)
            if found is None:
                raise NotFound(f"{text(names)} cannot be moved: it is not there" if names else "/ cannot be moved")
            to = await self._into(root, source, dest)
            wanted = Changes()
            if to == names:
                return wanted
            if to[: len(names)] == names:
                raise InvalidName(f"{text(names)} cannot be moved into itself")
            with self._source.session() as session:
                entry = await session.run(mfs.weigh(found))
            wanted.remove(names)
            wanted.put(to, entry)
            return wanted

        return await self._change(self._profile(options or {}), changes)

    async def files_rm(
        self, paths: Sequence[str], *, recursive: bool = False, force: bool = False,
        options: Mapping[str, object] | None = None,
    ) -> CID:  # fmt: skip
        """Remove files, and with ``recursive`` directories; the new root. ``force``: what is not there is no error."""
        wanted_names = [segments(_changeable(path)) for path in paths]
        if () in wanted_names:
            if recursive and force:
                return await self._begin_anew(self._profile(options or {}))
            raise InvalidName("the root cannot be removed; name something below it")

        how = Removal(recursive=recursive, missing_ok=force)

        async def changes(root: CID) -> Changes:
            wanted = Changes()
            for names in dict.fromkeys(wanted_names):
                if any(names[:depth] in wanted_names for depth in range(1, len(names))):
                    continue  # it goes with what is above it
                if not force or await self._find(root, names[:-1]) is not None:
                    wanted.remove(names, how)
            return wanted

        return await self._change(self._profile(options or {}), changes)

    async def _begin_anew(self, profile: Profile) -> CID:
        empty = mfs.empty_directory(profile)
        await self._source.put_many(empty.blocks, kept=True)
        await threads.run(Pool.WORK, self._store.records.put, _SPACE, _ROOT, empty.cid.raw)
        return empty.cid

    async def _find(self, root: CID, names: mfs.Path) -> CID | None:
        with self._source.session() as session:
            return await session.run(mfs.find(root, names))

    async def _into(self, root: CID, source: str, dest: str) -> mfs.Path:
        """Where something goes: below ``dest`` by its own name where that is a directory, or is written as one."""
        names = segments(_changeable(dest))
        found = await self._find(root, names)
        if found is None and not dest.endswith("/"):
            return names
        if found is not None:
            with self._source.session() as session:
                if not await session.run(mfs.is_directory(found)):
                    return names
        return (*names, segments(source.rstrip("/").rpartition("/")[2])[0])

    def _files_kept(self) -> set[bytes]:
        """Multihashes of the blocks of the tree that are here, for garbage collection; on a worker thread."""
        record = self._store.records.get(_SPACE, _ROOT)
        if record is None:
            return set()
        try:
            root = self._root_of(record)
        except StorageError as error:
            logger.error("%s", error)
            return set()
        return dags.reachable(self._store, [root])


def _changeable(path: str) -> str:
    if path.startswith(IMMUTABLE):
        raise LocalError(f"{path} cannot change; copy it into the files first (files cp {path} /NAME)")
    if not path.startswith("/"):
        raise InvalidName(f"{path!r} is no path of the files: it begins with /, as /a/b")
    return path


async def _one(chunks: AsyncIterator[Buffer]) -> AsyncGenerator[Sent, None]:
    yield Sent("", "file", chunks=lambda: chunks)


async def _padded(zeros: int, chunks: AsyncIterator[Buffer]) -> AsyncGenerator[Buffer, None]:
    while zeros > 0:
        piece = bytes(min(zeros, MFS_ZERO_BYTES))
        zeros -= len(piece)
        yield piece
    async with finishing(chunks):
        async for chunk in chunks:
            yield chunk
