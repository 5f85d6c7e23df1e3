"""The filesystem's writing side, on the root of a node (its MFS): every change is one new version of the root."""

from __future__ import annotations

import errno
from contextlib import suppress
from functools import partial
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.utils import stringify_path

from ipfs_kit_py._backend import sent_bytes
from ipfs_kit_py._fs import paths
from ipfs_kit_py._fs.failures import as_python, give, is_directory, kind_of, missing
from ipfs_kit_py._fs.reading import Reading
from ipfs_kit_py._fs.writers import WRITE, DeferredFile, SentFile, Together
from ipfs_kit_py.content.files import Entry, read_file
from ipfs_kit_py.core.errors import InvalidName, IPFSKitError, NotAFile, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfs_kit_py._fs.listings import Item

DIRECTORY, FILE = "directory", "file"
SUSPECTS = 100  # files of many that were refused together which are looked at, to tell which one it is


class Writing(Reading):
    """What writes, besides what reads."""

    transaction_type = Together

    @property
    def root_cid(self) -> str:
        """The CID of the root as it is now: all of it, for anybody who can reach this node, or has a copy."""
        return self.cid("/")

    # --- where a path leads -------------------------------------------------------------------------------------------

    def _absolute(self, path: str) -> str:
        return path

    def _located(self, path: str) -> str:
        if path.startswith((paths.IPFS, paths.IPNS)):
            return super()._located(path)
        return f"{paths.IPFS}{self._stat(path).cid}"

    def _item(self, path: str) -> Item:
        return super()._item(path) if path.startswith((paths.IPFS, paths.IPNS)) else self._stat(path)

    def _own(self, path: Any) -> str:
        """A path that may be written to, stripped."""
        found: str = self._strip_protocol(path)
        if found.startswith((paths.IPFS, paths.IPNS)):
            raise PermissionError(errno.EACCES, "content does not change; copy it to a path of the root first", found)
        return found

    def _file(self, path: Any, mode: str = "overwrite") -> str:
        """A path that a file may be written to."""
        found = self._own(path)
        if mode == "create" and self.exists(found):
            raise FileExistsError(errno.EEXIST, "there is something already", found)
        if found == "/":
            raise is_directory(found)
        return found

    def _change(self, verb: str, path: str, *others: str, uploads: Iterable[Entry] | None = None, **how: Any) -> None:
        try:
            self._backend.rows(verb, path, *others, uploads=uploads, stall=self.timeout, **how)
        except IPFSKitError as error:
            give(self.refusal(path, error), error)

    def refusal(self, path: str, error: IPFSKitError) -> Exception:
        """What to raise for a change of ``path`` that the node did not make."""
        kind = kind_of(error)
        if issubclass(kind, NotAFile | NotFound):
            if self.isdir(path):
                return is_directory(path)
            above = path
            while (above := self._parent(above)) != "/":
                if self._type(above) not in (None, DIRECTORY):
                    return NotADirectoryError(errno.ENOTDIR, f"{above} is no directory", path)
        if issubclass(kind, InvalidName) and self.exists(path):
            return FileExistsError(errno.EEXIST, "there is something already", path)
        return as_python(error, path)

    # --- directories --------------------------------------------------------------------------------------------------

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        """Make a directory. ``FileExistsError``; ``FileNotFoundError`` without its parent and ``create_parents``."""
        path = self._own(path)
        if self.exists(path):
            raise FileExistsError(errno.EEXIST, "there is something already", path)
        self._change("files/mkdir", path, parents=create_parents)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a directory and those above it."""
        path = self._own(path)
        found = self._type(path)
        if found is None:
            self._change("files/mkdir", path, parents=True)
        elif not exist_ok or found != DIRECTORY:
            raise FileExistsError(errno.EEXIST, "there is something already", path)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory. ``OSError`` (``ENOTEMPTY``) where it is not."""
        path = self._own(path)
        if self.info(path)["type"] != DIRECTORY:
            raise NotADirectoryError(errno.ENOTDIR, "this is no directory", path)
        if self.ls(path, detail=False):
            raise OSError(errno.ENOTEMPTY, "this directory is not empty", path)
        self._change("files/rm", path, recursive=True)

    def rm_file(self, path: str) -> None:
        """Remove a file. ``IsADirectoryError``, ``FileNotFoundError``."""
        path = self._own(path)
        if self.info(path)["type"] == DIRECTORY:
            raise is_directory(path)
        self._change("files/rm", path)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Remove files, with ``recursive`` directories with all below: one change each, whatever their size. With
        ``maxdepth`` what lies deeper stays. ``FileNotFoundError``, ``IsADirectoryError``."""
        if recursive and maxdepth is not None:
            for found in reversed(self.expand_path(path, recursive=True, maxdepth=maxdepth)):
                if not self.isdir(found):
                    self.rm_file(found)
                elif not self.ls(found, detail=False):
                    self.rmdir(found)
            return
        gone = ""
        for found in self.expand_path(path):
            if gone and found.startswith(f"{gone}/"):
                continue
            if not recursive:
                self.rm_file(found)
                continue
            self._change("files/rm", self._own(found), recursive=True)
            gone = found

    # --- copies and moves ---------------------------------------------------------------------------------------------

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Copy a file, from content too, by its CID alone; of a directory make an empty one."""
        source, target = self._strip_protocol(path1), self._own(path2)
        found = self.info(source)
        if found["type"] == DIRECTORY:
            self.makedirs(target, exist_ok=True)
        else:
            self._link(found["CID"], self._file(target))

    def copy(
        self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, on_error: str | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        """Copy files and, with ``recursive``, directories; a whole directory to where there is none is one change."""
        if (
            recursive
            and maxdepth is None
            and isinstance(path1, str)
            and isinstance(path2, str)
            and not has_magic(path1)
        ):
            target = self._target(path1, path2)
            if self.isdir(path1) and not self.exists(target):
                self._link(self.cid(path1), target)
                return
        super().copy(path1, path2, recursive=recursive, maxdepth=maxdepth, on_error=on_error, **kwargs)

    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any) -> None:
        """Move a file or a directory with all below, in one change."""
        if not isinstance(path1, str) or not isinstance(path2, str) or maxdepth is not None or has_magic(path1):
            super().mv(path1, path2, recursive=recursive, maxdepth=maxdepth, **kwargs)
            return
        source, target = self._own(path1), self._target(path1, path2)
        if not self.exists(source):
            raise missing(source)
        if source != target:
            self._parents(target)
            self._change("files/mv", source, target)

    def _target(self, path1: str, path2: str) -> str:
        """Where one path is copied to: ``path2``, or below it where that is a directory, but the content of ``a/``."""
        into = not path1.endswith("/") and (path2.endswith("/") or self.isdir(path2))
        name = self._strip_protocol(path1).rpartition("/")[2]
        return self._own(f"{path2.rstrip('/')}/{name}" if into else path2)

    def _parents(self, path: str) -> None:
        parent = self._parent(path)
        if not self.isdir(parent):
            self.makedirs(parent, exist_ok=True)

    def _link(self, cid: str, target: str) -> None:
        if self.exists(target):
            self._change("files/rm", target)
        self._change("files/cp", f"{paths.IPFS}{cid}", target, parents=True)

    # --- content ------------------------------------------------------------------------------------------------------

    def _open_to_write(self, path: str, mode: str, block_size: int | None, autocommit: bool) -> Any:
        path = self._file(path, "create" if mode == "xb" else "overwrite")
        found = None
        with suppress(FileNotFoundError):
            found = self.info(path)
        if found is not None and found["type"] == DIRECTORY:
            raise is_directory(path)
        if not autocommit:
            deferred = DeferredFile(path)
            if mode == "ab" and found is not None:
                self._copy(path, found, deferred, DEFAULT_CALLBACK)
            return deferred
        size = found["size"] if found is not None else 0
        return SentFile(self, path, mode, size, block_size=block_size or self.blocksize)

    def pipe_file(self, path: str, value: Any, mode: str = "overwrite", **kwargs: Any) -> None:
        """Write bytes to a file; directories are made. ``mode="create"``: ``FileExistsError`` where it is there."""
        path = self._file(path, mode)
        if self._intrans:
            with self.open(path, "wb") as file:
                file.write(value)
        else:
            self._change(WRITE, path, uploads=[sent_bytes(value)], create=True, truncate=True, parents=True)

    def pipe(self, path: Any, value: Any = None, **kwargs: Any) -> None:
        """Write bytes to a file, or those of a dict by path to many, in one change of the root."""
        if not isinstance(path, dict) or self._intrans:
            super().pipe(path, value, **kwargs)
            return
        mode = kwargs.get("mode", "overwrite")
        self.send_batch([sent_bytes(content, self._file(name, mode)) for name, content in path.items()])

    def put_file(
        self, lpath: Any, rpath: str, callback: Any = DEFAULT_CALLBACK, mode: str = "overwrite",
        batch: list[Entry] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Send a file of this machine piece by piece; of a directory make an empty one."""
        local = Path(stringify_path(lpath))
        if local.is_dir():
            if batch is None:
                self.makedirs(rpath, exist_ok=True)
            else:
                batch.append(Entry(self._own(rpath), DIRECTORY))
            return
        path, size = self._file(rpath, mode), local.stat().st_size
        callback.set_size(size)
        if batch is not None:
            batch.append(Entry(path, FILE, chunks=partial(read_file, local)))
            return
        with local.open("rb") as source, self.open(path, "wb") as target:
            while piece := source.read(self.blocksize):
                target.write(piece)
                callback.relative_update(len(piece))

    def put(
        self, lpath: Any, rpath: Any, recursive: bool = False, callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Send files of this machine, with ``recursive`` directories: all in one change of the root."""
        batch: list[Entry] | None = None if self._intrans else []
        super().put(lpath, rpath, recursive=recursive, callback=callback, maxdepth=maxdepth, batch=batch, **kwargs)
        if batch:
            self.send_batch(batch)

    def send_batch(self, entries: list[Entry]) -> None:
        """Write many files, and make directories, in one change of the root; ``path`` of each is its own."""
        try:
            self._backend.rows("files/batch", uploads=entries, stall=self.timeout)
        except IPFSKitError as error:
            reasons = (self.refusal(entry.path, error) for entry in entries[:SUSPECTS])
            give(next((found for found in reasons if type(found) is not OSError), as_python(error, "/")), error)

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        """Make a file empty. ``NotImplementedError`` for one that is to stay: it has no time to be changed."""
        if not truncate and self.exists(path):
            raise NotImplementedError("files carry no time that could be changed")
        self.pipe_file(path, b"")
