"""A fetched tree written to disk: many small files in few steps, large ones as they come."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.content.extract import Extractor
from ipfs_kit_py.content.fetch import fetch
from ipfs_kit_py.content.tree import DIRECTORY, SYMLINK, is_small, runs
from ipfs_kit_py.core.cid import DAG_PB
from ipfs_kit_py.core.errors import IPFSKitError
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ipfs_kit_py.content.source import BlockSource, SourceSession
    from ipfs_kit_py.content.tree import Found, Trees
    from ipfs_kit_py.core.cid import CID

    Progress = Callable[[int], None] | None


async def get_tree(trees: Trees, source: BlockSource, root: CID, dest: Path, progress: Progress = None) -> None:
    """Write the tree below ``root`` to ``dest``, which it becomes. ``progress`` hears of the bytes of files.

    ``InvalidName`` for names that would leave ``dest``; ``OSError`` of writing comes through.
    """
    failures: list[Exception] = []
    async with trio.open_nursery() as ahead:
        if source.exchange is not None and root.codec == DAG_PB:
            ahead.start_soon(_read_ahead, source, root)
        try:
            with source.session() as session, Extractor(dest.parent) as out:
                async with aclosing(trees.walk(session, root)) as found, aclosing(runs(found)) as parts:
                    async for part in parts:
                        await _write(trees, session, out, dest.name, part, progress)
        except Exception as error:  # noqa: BLE001 - raised again below, alone
            failures.append(error)
        ahead.cancel_scope.cancel()
    if failures:
        raise failures[0]


async def _read_ahead(source: BlockSource, root: CID) -> None:
    """Fetch a tree while its beginning is being written: else its directories would come one by one."""
    try:
        await fetch(source, root)
    except IPFSKitError:
        return  # the reading itself says so, if it comes that far


async def _write(
    trees: Trees, session: SourceSession, out: Extractor, name: str, part: Sequence[Found], progress: Progress
) -> None:
    first = part[0]
    where = (name, *first.path)
    if is_small(first):
        files = [((name, *item.path), data) for item, data in await trees.small_files(session, part)]
        await threads.run(Pool.WORK, out.files, files)
        if progress is not None:
            progress(sum(len(data) for _, data in files))
    elif first.kind.name == DIRECTORY:
        await threads.run(Pool.WORK, out.directory, where)
    elif first.kind.name == SYMLINK:
        await threads.run(Pool.WORK, out.symlink, where, first.kind.target)
    else:
        await _write_large(trees, first.cid, out, where, progress)


async def _write_large(trees: Trees, cid: CID, out: Extractor, where: Sequence[str], progress: Progress) -> None:
    file = await threads.run(Pool.WORK, out.file, where)
    try:
        async with trees.file(cid) as pieces:
            async for piece in pieces:
                await threads.run(Pool.WORK, file.write, [piece])
                if progress is not None:
                    progress(len(piece))
    except BaseException:
        file.abandon()
        raise
    await threads.run(Pool.WORK, file.finish)
