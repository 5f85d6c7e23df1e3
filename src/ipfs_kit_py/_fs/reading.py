"""The filesystem's reading side: listings, what a path is, content whole and in ranges, copies to this machine."""

from __future__ import annotations

import errno
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fsspec import AbstractFileSystem
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.utils import isfilelike, stringify_path, tokenize

from ipfs_kit_py._fs import paths
from ipfs_kit_py._fs.failures import as_python, is_directory, kind_of, mapped, missing
from ipfs_kit_py._fs.files import ContentFile
from ipfs_kit_py._fs.listings import Item, Listings
from ipfs_kit_py._fs.ranges import Range, joined
from ipfs_kit_py.core.errors import IPFSKitError, NotAFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ipfs_kit_py._backend import Backend
    from ipfs_kit_py._fs.opening import Opened

PAGE_ENTRIES = 1000  # of a directory that is listed by pages
ROW_ENTRIES = 256  # of one row of the listing, about 64 KiB
_LS_TYPES = {1: "directory", 2: "file", 4: "link"}  # the numbers of `ls`
_NO_NAMES = frozenset({"", ".", ".."})
_STAT_TYPES = {"directory": "directory", "file": "file", "symlink": "link"}


class Reading(AbstractFileSystem):
    """What reads. ``_strip_protocol`` and ``root_marker`` say how paths are written."""

    cachable = True
    fsid = "ipfs"  # the same content is behind the same path everywhere

    opened: Opened
    _listings: Listings
    timeout: float | None
    read_ahead: int

    @property
    def _backend(self) -> Backend:
        return self.opened.backend

    # --- where a path leads -------------------------------------------------------------------------------------------

    def _absolute(self, path: str) -> str:
        """A stripped path with its namespace."""
        return paths.absolute(path, paths.IPFS)

    def _located(self, path: str) -> str:
        """The path of immutable content that a stripped path leads to now, below ``/ipfs/``."""
        found = self._absolute(path)
        if not found.startswith(paths.IPNS):
            return found
        name, _, rest = found.removeprefix(paths.IPNS).partition("/")
        row = self._backend.row("name/resolve", f"{paths.IPNS}{name}", stall=self.timeout)
        return f"{row['Path']}/{rest}".rstrip("/")

    def _stat(self, located: str) -> Item:
        row = self._backend.row("files/stat", located, stall=self.timeout)
        kind = _STAT_TYPES.get(row["Type"], "other")
        return Item(row["Hash"], kind, 0 if kind == "directory" else row["Size"])

    def _item(self, path: str) -> Item:
        """What a stripped path is now."""
        located = self._located(path)
        try:
            found = self._listings.item(located)
        except KeyError:
            raise missing(path) from None
        if found is None:
            found = self._stat(located)
            self._listings.keep_item(located, found)
        return found

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """``name``, ``size`` in bytes (0 of a directory), ``type`` (``file``, ``directory``, ``link``, ``other``),
        ``CID``, ``islink``. Links are not followed. ``FileNotFoundError``; ``TimeoutError`` where nobody has it."""
        path = self._strip_protocol(path)
        with mapped(path):
            return _info(path, self._item(path))

    def ukey(self, path: str) -> str:
        """The CID: as long as it is the same, the content is."""
        return self.cid(path)

    def cid(self, path: str) -> str:
        """The CID of what is at ``path`` now. ``FileNotFoundError``."""
        return str(self.info(path)["CID"])

    def checksum(self, path: str) -> int:
        """The CID as a number."""
        return int(tokenize(self.cid(path)), 16)

    def exists(self, path: str, **kwargs: Any) -> bool:
        """Whether there is something. ``TimeoutError`` where that could not be found out."""
        return self._type(path) is not None

    def isdir(self, path: str) -> bool:
        """Whether it is a directory; raises as ``exists``."""
        return self._type(path) == "directory"

    def isfile(self, path: str) -> bool:
        """Whether it is a file; raises as ``exists``."""
        return self._type(path) == "file"

    def _type(self, path: str) -> str | None:
        try:
            return str(self.info(path)["type"])
        except (FileNotFoundError, NotADirectoryError):
            return None

    def modified(self, path: str) -> datetime:
        """The time that the content itself carries (UnixFS ``mtime``). ``NotImplementedError`` where it has none."""
        path = self._strip_protocol(path)
        with mapped(path):
            row = self._backend.row("files/stat", self._located(path), stall=self.timeout)
        if "Mtime" not in row:
            raise NotImplementedError(f"{path} carries no time: what is named by its content has none of its own")
        return datetime.fromtimestamp(row["Mtime"] + row.get("MtimeNsecs", 0) / 1e9, UTC)

    def created(self, path: str) -> NoReturn:
        """Content has no such time."""
        raise NotImplementedError("content has no time of creation; `modified` tells what it carries")

    # --- directories --------------------------------------------------------------------------------------------------

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """The entries of a directory, or a file by itself: paths, or as ``info`` each with ``detail``.

        Entries come from peers where they are not here. Immutable ones are remembered; ``refresh=True`` asks anew.
        """
        path = self._strip_protocol(path)
        with mapped(path):
            located = self._located(path)
            entries = None if kwargs.get("refresh") else self._listings.directory(located)
            if entries is None:
                entries = self._list(located)
            if entries is None:
                found = [_info(path, self._item(path))]
                return found if detail else [path]
        base = path.rstrip("/") + "/"
        if detail:
            return [_info(base + name, item) for name, item in entries.items()]
        return sorted(base + name for name in entries)

    def _list(self, located: str) -> Mapping[str, Item] | None:
        """The entries of a directory, ``None`` for what is none."""
        try:
            entries: dict[str, Item] = {}
            with self._backend.stream_rows("ls", located, stream=True, page=ROW_ENTRIES, stall=self.timeout) as rows:
                for row in rows:
                    for name, item in _items(row):
                        entries.setdefault(name, item)  # the first is what a path leads to
        except IPFSKitError as error:
            if issubclass(kind_of(error), NotAFile):
                return None
            raise
        self._listings.keep_directory(located, entries)
        return entries

    def ls_pages(self, path: str, size: int = PAGE_ENTRIES) -> Iterator[list[dict[str, Any]]]:
        """The entries of a directory as they come, at most ``size`` at a time as ``info`` each, and no more of them in
        memory than a few pages. Raises as ``ls``, and ``NotADirectoryError``."""
        path = self._strip_protocol(path)
        base = path.rstrip("/") + "/"
        page: list[dict[str, Any]] = []
        with mapped(path):
            located = self._located(path)
            if self._stat(located).type != "directory":
                raise NotADirectoryError(errno.ENOTDIR, "this is no directory", path)
        with (
            mapped(path),
            self._backend.stream_rows("ls", located, stream=True, page=ROW_ENTRIES, stall=self.timeout) as rows,
        ):
            for row in rows:
                for name, item in _items(row):
                    page.append(_info(base + name, item))
                    if len(page) >= size:
                        yield page
                        page = []
        if page:
            yield page

    def walk(
        self, path: str, maxdepth: int | None = None, topdown: bool = True,
        on_error: str | Callable[[OSError], Any] = "omit", **kwargs: Any,
    ) -> Iterator[Any]:  # fmt: skip
        """As ``os.walk``. ``omit`` leaves out what is not there; content that cannot be had raises all the same."""
        yield from super().walk(
            path, maxdepth=maxdepth, topdown=topdown, on_error=_omit if on_error == "omit" else on_error, **kwargs
        )

    def du(
        self, path: str, total: bool = True, maxdepth: int | None = None, withdirs: bool = False, **kwargs: Any
    ) -> Any:
        """Bytes of the files below ``path``: their sum, or a dict by path."""
        found = self.find(path, maxdepth=maxdepth, withdirs=withdirs, detail=True, **kwargs)
        sizes = {name: (info or self.info(name))["size"] or 0 for name, info in found.items()}
        return sum(sizes.values()) if total else sizes

    # --- content ------------------------------------------------------------------------------------------------------

    def read_content(self, path: str, cid: str, start: int, end: int | None) -> bytes:
        """Bytes ``start`` to ``end`` of the file with root ``cid``; ``path`` is what errors tell of."""
        if end is not None and end <= start:
            return b""
        wanted = Range(cid, start, end)
        with mapped(path):
            return self._backend.data("cat", f"{paths.IPFS}{cid}", stall=self.timeout, **wanted.options)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """Bytes ``start`` to ``end`` of a file, counted from its end where negative; only their blocks are fetched.

        ``IsADirectoryError``; ``TimeoutError`` where nothing comes for ``timeout`` seconds.
        """
        path = self._strip_protocol(path)
        [found] = self._cat_many([path], [start], [end], None)
        if isinstance(found, Exception):
            raise found
        return found

    def cat_ranges(
        self, paths: list[str], starts: Any, ends: Any, max_gap: int | None = None, on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:  # fmt: skip
        """Ranges of files as ``cat_file`` has them, many at once; for one that fails its error, unless ``on_error`` is
        ``raise``. Those of a file with at most ``max_gap`` bytes in between (16 KiB for ``None``) are one fetch."""
        if not isinstance(paths, list):
            raise TypeError("paths is a list")
        starts, ends = ([value] * len(paths) if not isinstance(value, list) else value for value in (starts, ends))
        if len(starts) != len(paths) or len(ends) != len(paths):
            raise ValueError("starts and ends are as many as paths")
        found = self._cat_many([self._strip_protocol(path) for path in paths], starts, ends, max_gap)
        if on_error == "raise":
            for answer in found:
                if isinstance(answer, Exception):
                    raise answer
        return found

    def cat(self, path: Any, recursive: bool = False, on_error: str = "raise", **kwargs: Any) -> Any:
        """The content of a file; of several, by pattern, list or ``recursive``, a dict by path, fetched many at once.
        ``on_error``: ``raise``, ``omit`` or ``return`` for those that fail."""
        found = self.expand_path(path, recursive=recursive)
        if len(found) == 1 and not isinstance(path, list) and found[0] == self._strip_protocol(path):
            return self.cat_file(found[0], **kwargs)
        if recursive:
            found = [name for name in found if not self.isdir(name)]
        start, end = kwargs.get("start"), kwargs.get("end")
        out: dict[str, Any] = {}
        for name, answer in zip(
            found, self._cat_many(found, [start] * len(found), [end] * len(found), None), strict=True
        ):
            if isinstance(answer, Exception) and on_error == "raise":
                raise answer
            if not isinstance(answer, Exception) or on_error == "return":
                out[name] = answer
        return out

    def _cat_many(
        self, names: Sequence[str], starts: Sequence[int | None], ends: Sequence[int | None], gap: int | None
    ) -> list[bytes | Exception]:
        """Ranges of stripped paths, or why not."""
        answers: list[bytes | Exception] = [b""] * len(names)
        wanted: list[Range] = []
        whose: list[int] = []
        roots: dict[str, str | Exception] = {}
        for at, (name, start, end) in enumerate(zip(names, starts, ends, strict=True)):
            if name not in roots:
                roots[name] = self._try_locate(name)
            root = roots[name]
            try:
                if isinstance(root, Exception):
                    raise root
                found = self._range(name, root, start, end)
            except OSError as error:
                answers[at] = error
            else:
                wanted.append(found)
                whose.append(at)
        fetched, places = joined(wanted, gap)
        came = self._fetch(fetched)
        for at, found, place in zip(whose, wanted, places, strict=True):
            data = came[place]
            answers[at] = (
                self._why(names[at], data) if isinstance(data, Exception) else found.within(fetched[place], data)
            )
        return answers

    def _try_locate(self, name: str) -> str | Exception:
        try:
            with mapped(name):
                return self._located(name)
        except OSError as error:
            return error

    def _fetch(self, ranges: Sequence[Range]) -> list[bytes | Exception]:
        calls = [("cat", (each.key,), each.options) for each in ranges]
        if len(calls) != 1:
            return self._backend.data_many(calls, stall=self.timeout)
        [(verb, arguments, options)] = calls
        try:
            return [self._backend.data(verb, *arguments, stall=self.timeout, **options)]
        except IPFSKitError as error:
            return [error]

    def _range(self, name: str, located: str, start: int | None, end: int | None) -> Range:
        """A range as Python's slices have it, in bytes from the beginning."""
        start = start or 0
        if start < 0 or (end is not None and end < 0):
            size = self.info(name)["size"] or 0
            start, end, _ = slice(start, end).indices(size)
        return Range(located, start, None if end is None else max(start, end))

    def _why(self, name: str, error: Exception) -> Exception:
        """The error of a reading, as Python has it."""
        if not isinstance(error, IPFSKitError):
            return error
        if issubclass(kind_of(error), NotAFile) and self.isdir(name):
            found: Exception = is_directory(name)
        else:
            found = as_python(error, name)
        if found is not error:
            found.__cause__ = error
        return found

    def _open(
        self, path: str, mode: str = "rb", block_size: int | None = None, autocommit: bool = True,
        cache_options: dict[str, Any] | None = None, **kwargs: Any,
    ) -> Any:  # fmt: skip
        if mode != "rb":
            return self._open_to_write(path, mode, block_size, autocommit)
        details = self.info(path)
        if details["type"] == "directory":
            raise is_directory(path)
        block_size = block_size or self.read_ahead
        return ContentFile(self, path, details, block_size=block_size, cache_options=cache_options, **kwargs)

    def _open_to_write(self, path: str, mode: str, block_size: int | None, autocommit: bool) -> Any:
        raise NotImplementedError

    # --- copies to this machine ---------------------------------------------------------------------------------------

    def get_file(
        self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, outfile: Any = None, **kwargs: Any
    ) -> None:
        """Copy a file to this machine piece by piece; a directory is made, a link becomes one. What is not whole is
        removed."""
        rpath = self._strip_protocol(rpath)
        if outfile is None and isfilelike(lpath):
            outfile = lpath
        found = self.info(rpath)
        if outfile is not None:
            self._copy(rpath, found, outfile, callback)
            return
        target = Path(stringify_path(lpath))
        if found["type"] == "directory":
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if found["type"] == "link":
            with mapped(rpath):
                self._backend.get(f"{paths.IPFS}{found['CID']}", target)
            return
        if target.is_symlink():
            target.unlink()  # it is replaced, not written through
        try:
            with target.open("wb") as file:
                self._copy(rpath, found, file, callback)
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def _copy(self, path: str, found: dict[str, Any], file: Any, callback: Any) -> None:
        if found["type"] == "directory":
            raise is_directory(path)
        callback.set_size(found["size"])
        located = f"{paths.IPFS}{found['CID']}"
        with mapped(path), self._backend.stream("cat", located, stall=self.timeout) as pieces:
            for piece in pieces:
                file.write(piece)
                callback.relative_update(len(piece))

    # --- the rest -----------------------------------------------------------------------------------------------------

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget what was listed. What is remembered cannot change, so that this only frees memory."""
        if path is None:
            self._listings.clear()
        super().invalidate_cache(path)

    def close(self) -> None:
        """Let the node go; it ends with the last filesystem that uses it. A later use opens it again."""
        self.opened.close()


def _omit(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _items(row: Mapping[str, Any]) -> Iterable[tuple[str, Item]]:
    """The entries in a row of ``ls``."""
    for found in row["Objects"]:
        for link in found["Links"]:
            name = link["Name"]
            if name in _NO_NAMES or "/" in name or "\0" in name:
                # who joins it to a path, as all users of fsspec do, would leave the directory
                raise OSError(errno.EINVAL, f"an entry of this directory has a name that no file may have: {name!r}")
            yield name, Item(link["Hash"], _LS_TYPES.get(link["Type"], "other"), link["Size"])


def _info(path: str, item: Item) -> dict[str, Any]:
    return {"name": path, "size": item.size, "type": item.type, "CID": item.cid, "islink": item.type == "link"}
