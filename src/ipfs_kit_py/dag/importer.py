"""Put a tree of files together: a driver walks the disk and hands over what it finds, directories come out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.core.config import MAX_DAG_DEPTH
from ipfs_kit_py.core.errors import InvalidName, LocalError
from ipfs_kit_py.dag.builder import NO_STAT, build_symlink
from ipfs_kit_py.dag.directory import DirectoryBuilder, check_name

if TYPE_CHECKING:
    from ipfs_kit_py.core.cid import CID
    from ipfs_kit_py.dag.profiles import Built, Profile, Stat


class Entry(NamedTuple):
    """A finished entry of the tree, for progress reports: its path below the root, CID and cumulative size."""

    path: str
    cid: CID
    tsize: int


class _Open(NamedTuple):
    name: str
    directory: DirectoryBuilder


class TreeBuilder:
    """One tree, told in the order of a walk that goes to the bottom of a directory before it leaves it.

    Paths are relative to the root, separated by ``/``. Each call returns the finished part of what it left behind: the
    directories that the walk has gone out of, with their blocks. Memory is that of the directories still open. Raises
    ``InvalidName`` for a path that no tree may have or that came before.
    """

    def __init__(self, profile: Profile, stat: Stat = NO_STAT) -> None:
        self._profile = profile
        self._open = [_Open("", DirectoryBuilder(profile, stat))]
        self._finished = False

    def enter(self, path: str, stat: Stat = NO_STAT) -> list[tuple[Entry, Built]]:
        """A directory begins; one that stays empty is kept too."""
        left, name = self._reach(path)
        self._descend(name, stat)
        return left

    def add(self, path: str, built: Built) -> list[tuple[Entry, Built]]:
        """A file, or anything else that is finished."""
        left, name = self._reach(path)
        self._open[-1].directory.add(name, built.cid, built.tsize)
        return left

    def add_symlink(self, path: str, target: str, stat: Stat = NO_STAT) -> list[tuple[Entry, Built]]:
        """A symbolic link, kept as a link; its own block is the last of what is returned."""
        built = build_symlink(target, self._profile, stat)
        return [*self.add(path, built), (Entry(path, built.cid, built.tsize), built)]

    def finish(self) -> tuple[Built, list[tuple[Entry, Built]]]:
        """The root directory, and what was still open below it."""
        if self._finished:
            raise LocalError("this tree is finished; build another one")
        left = self._leave(1)
        self._finished = True
        return self._open[0].directory.finish(), left

    def _reach(self, path: str) -> tuple[list[tuple[Entry, Built]], str]:
        """Leave and enter directories until the parent of ``path`` is the innermost; the last name of ``path``."""
        if self._finished:
            raise LocalError("this tree is finished; build another one")
        *parents, name = path.split("/")
        if len(parents) >= MAX_DAG_DEPTH:
            raise InvalidName(f"{path[:80]!r}… is nested deeper than {MAX_DAG_DEPTH} directories")
        for part in (*parents, name):
            check_name(part)
        same = 0
        for part, inner in zip(parents, self._open[1:], strict=False):
            if part != inner.name:
                break
            same += 1
        left = self._leave(1 + same)
        for part in parents[same:]:
            self._descend(part, NO_STAT)
        return left, name

    def _descend(self, name: str, stat: Stat) -> None:
        if name in self._open[-1].directory:
            raise InvalidName(f"{self._path(name)!r} came before: the walk has left it, or it is no directory")
        self._open.append(_Open(name, DirectoryBuilder(self._profile, stat)))

    def _leave(self, depth: int) -> list[tuple[Entry, Built]]:
        left = []
        while len(self._open) > depth:
            path = self._path()
            name, directory = self._open.pop()
            built = directory.finish()
            self._open[-1].directory.add(name, built.cid, built.tsize)
            left.append((Entry(path, built.cid, built.tsize), built))
        return left

    def _path(self, *more: str) -> str:
        return "/".join([*(inner.name for inner in self._open[1:]), *more])
