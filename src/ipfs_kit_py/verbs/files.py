"""The ``files`` verbs: a tree that changes. Those that change it also tell its new root, which Kubo's do not."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from ipfs_kit_py.core import kubo_shapes as shapes
from ipfs_kit_py.verbs.call import UsageError
from ipfs_kit_py.verbs.verb import BYTES, JSON, ROWS, Verb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import CID
    from ipfs_kit_py.verbs.call import Call

_OPTIONS = ("profile", "cid-version", "raw-leaves", "chunker", "hash")
PAGE = 1024  # entries of one row of a listing that comes in pages


def _options(call: Call) -> dict[str, object]:
    return {name: call.text(name) for name in _OPTIONS}


async def _told(call: Call, root: CID) -> None:
    await call.row(shapes.files_root(root))


def _flag(call: Call, *names: str) -> bool:
    return any(call.flag(name) for name in names)


async def _stat(call: Call) -> None:
    found = await call.node.files_stat(call.argument("path"))
    row = shapes.files_stat(
        found.cid, found.kind, found.size, found.cumulative, found.links, mode=found.stat.mode, mtime=found.stat.mtime
    )
    await call.row(row)


async def _ls(call: Call) -> None:
    """A row for the whole directory, with ``stream`` one for each page."""
    path = call.arguments[0] if call.arguments else "/"
    long, stream = _flag(call, "long", "l"), call.flag("stream")
    rows: list[dict[str, Any]] = []
    async with aclosing(call.node.files_ls(path)) as entries:
        async for entry in entries:
            rows.append(shapes.files_entry(entry.name, entry.type, entry.size or 0, entry.cid, long=long))
            if stream and len(rows) == PAGE:
                await call.row({"Entries": rows})
                rows = []
    if rows or not stream:
        await call.row({"Entries": rows or None})


async def _read(call: Call) -> None:
    path = await call.node.files_path(call.argument("path"))
    reading = call.node.cat(path, offset=call.number("offset", 0) or 0, length=call.number("count"))
    async with aclosing(reading) as pieces:
        async for piece in pieces:
            await call.data(piece)


async def _write(call: Call) -> None:
    path, done = call.argument("path"), False
    async for entry in call.uploads():
        if done or entry.chunks is None:
            raise UsageError("expected one file to write")
        chunks: AsyncIterator[Buffer] = entry.chunks()
        root = await call.node.files_write(
            path,
            chunks,
            offset=call.number("offset", 0) or 0,
            create=_flag(call, "create", "e"),
            truncate=_flag(call, "truncate", "t"),
            parents=_flag(call, "parents", "p"),
            options=_options(call),
        )
        done = True
        await _told(call, root)


async def _batch(call: Call) -> None:
    done = await call.node.files_batch(call.uploads(), options=_options(call))
    for path, entry in done.put:
        await call.row(shapes.added(path, entry.cid, entry.tsize))
    await _told(call, done.root)


async def _mkdir(call: Call) -> None:
    parents = _flag(call, "parents", "p")
    await _told(call, await call.node.files_mkdir(call.argument("path"), parents=parents, options=_options(call)))


async def _cp(call: Call) -> None:
    source, dest = _two(call)
    parents = _flag(call, "parents", "p")
    await _told(call, await call.node.files_cp(source, dest, parents=parents, options=_options(call)))


async def _mv(call: Call) -> None:
    await _told(call, await call.node.files_mv(*_two(call), options=_options(call)))


async def _rm(call: Call) -> None:
    recursive, force = _flag(call, "recursive", "r"), _flag(call, "force")
    paths = call.several("path")
    await _told(
        call, await call.node.files_rm(paths, recursive=recursive or force, force=force, options=_options(call))
    )


async def _flush(call: Call) -> None:
    path = call.arguments[0] if call.arguments else "/"
    found = await call.node.files_stat(path)
    await call.row({"Cid": str(found.cid)})


def _two(call: Call) -> tuple[str, str]:
    if len(call.arguments) != 2:
        raise UsageError(f"expected a source and a destination, got {len(call.arguments)} paths")
    return call.arguments[0], call.arguments[1]


FILES_VERBS: dict[str, Verb] = {
    "files/stat": Verb(_stat, JSON),
    "files/ls": Verb(_ls, ROWS),
    "files/read": Verb(_read, BYTES),
    "files/write": Verb(_write, JSON, uploads=True),
    "files/batch": Verb(_batch, ROWS, uploads=True),
    "files/mkdir": Verb(_mkdir, JSON),
    "files/cp": Verb(_cp, JSON),
    "files/mv": Verb(_mv, JSON),
    "files/rm": Verb(_rm, JSON),
    "files/flush": Verb(_flush, JSON),
}
