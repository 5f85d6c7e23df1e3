"""A tree that changes over directories that do not: many changes at once, each directory on the way made anew once.

Plans, as everywhere in this package: generators that yield the CIDs of the blocks that they need and are sent their
bytes. The result is what the final tree would be if it were built from nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ipfs_kit_py.core.cid import DAG_PB, RAW
from ipfs_kit_py.core.config import MAX_DAG_DEPTH
from ipfs_kit_py.core.errors import InvalidName, NotAFile, NotFound
from ipfs_kit_py.core.text import printable
from ipfs_kit_py.dag import dag_pb, paths, unixfs
from ipfs_kit_py.dag.builder import NO_STAT
from ipfs_kit_py.dag.directory import DirectoryBuilder, check_name
from ipfs_kit_py.dag.edit import edit_directory
from ipfs_kit_py.dag.hamt import MAX_TSIZE
from ipfs_kit_py.dag.profiles import Stat

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import CID, Block
    from ipfs_kit_py.dag.profiles import Built, Profile

Path = tuple[str, ...]
_T = TypeVar("_T")


class Entry(NamedTuple):
    """What a name leads to: the root of a DAG, and the bytes of all its blocks."""

    cid: CID
    tsize: int


def segments(path: str) -> Path:
    """The names of a path such as ``/a/b``. ``InvalidName`` for one that no entry may have, or too many."""
    names = tuple(name for name in path.split("/") if name)
    if len(names) > MAX_DAG_DEPTH:
        raise InvalidName(f"{printable(path[:80])}… is nested deeper than {MAX_DAG_DEPTH} directories")
    for name in names:
        check_name(name)
    return names


def text(path: Sequence[str]) -> str:
    """A path as it is written, for messages."""
    return printable("/" + "/".join(path))


def empty_directory(profile: Profile) -> Built:
    """The directory without entries."""
    return DirectoryBuilder(profile).finish()


class Removal(NamedTuple):
    """How something is removed: whether a directory may be, and whether it may be missing."""

    recursive: bool = True
    missing_ok: bool = False


class _Change:
    """What happens at one path and below it."""

    __slots__ = ("below", "directory", "entry", "remove")

    def __init__(self) -> None:
        self.below: dict[str, _Change] = {}
        self.entry: Entry | None = None
        self.remove: Removal | None = None
        self.directory = False


class Changes:
    """What is to change below one root. The last that is said of a path holds; paths are those of ``segments``."""

    def __init__(self) -> None:
        self._root = _Change()
        self._root.directory = True
        self.count = 0

    def put(self, path: Path, entry: Entry) -> None:
        """This is at ``path`` then, in the place of what was there. ``InvalidName`` for the root itself, and where the
        same changes have something below it."""
        change = self._at(path, "replaced")
        if change.below or change.directory:
            raise InvalidName(f"{text(path)} is a directory of the same changes; give the file another name")
        change.entry, change.remove = entry, None

    def remove(self, path: Path, how: Removal = Removal()) -> None:  # noqa: B008 - it cannot change
        """Nothing is there then. When it is applied: ``NotFound`` where nothing was, ``NotAFile`` for a directory that
        may not be removed."""
        change = self._at(path, "removed")
        change.entry, change.remove, change.directory = None, how, False
        change.below.clear()

    def make_directory(self, path: Path) -> None:
        """A directory is there then; one that was there stays as it is."""
        if path:
            change = self._at(path, "made")
            if change.entry is not None:
                raise InvalidName(f"{text(path)} is a file of the same changes; give the directory another name")
            change.directory = True

    def _at(self, path: Path, what: str) -> _Change:
        if not path:
            raise InvalidName(f"the root cannot be {what}; name something below it")
        self.count += 1
        change = self._root
        for depth, name in enumerate(path):
            if change.entry is not None:
                raise InvalidName(f"{text(path[:depth])} is a file of the same changes: nothing can be below it")
            change = change.below.setdefault(name, _Change())
        return change

    def apply(self, root: CID, profile: Profile, *, parents: bool = False) -> Generator[CID, Buffer, Built]:
        """The root with all changes, and the blocks that are new.

        ``parents``: directories on the way that are not there are made. ``NotFound`` naming what is not there,
        ``NotAFile`` for what is no directory and is needed as one.
        """
        return (yield from _apply(root, self._root, (), profile, parents))


def _apply(
    directory: CID | None, change: _Change, path: Path, profile: Profile, parents: bool
) -> Generator[CID, Buffer, Built]:
    blocks: list[Block] = []
    held: dict[CID, Buffer] = {}
    if directory is None:
        empty = empty_directory(profile)
        directory, held = empty.cid, {block.cid: block.data for block in empty.blocks}
    put: dict[str, tuple[CID, int]] = {}
    removals: dict[str, Removal] = {}
    for name, child in change.below.items():
        if child.entry is not None:
            put[name] = child.entry
            continue
        if child.remove is not None:
            removals[name] = child.remove
            if not child.below and not child.directory:
                continue
        below = (*path, name)
        there = None if child.remove is not None else (yield from _given(held, _find(directory, name, path)))
        if there is None and child.remove is None and not (parents or child.directory):
            raise NotFound(f"{text(below)} is not there; make it first, or ask for parents")
        if there is not None and not (yield from is_directory(there)):
            raise NotAFile(f"{text(below)} is a file, not a directory: nothing can be below it")
        if there is not None and not child.below:
            continue  # a directory that was there
        built = yield from _apply(there, child, below, profile, parents)
        blocks += built.blocks
        put[name] = (built.cid, built.tsize)
    removed: dict[str, CID] = {}
    plan = edit_directory(directory, profile, put=put, remove=list(removals), removed=removed)
    edited = yield from _given(held, plan)
    for name, how in removals.items():
        if name not in removed and not how.missing_ok:
            raise NotFound(f"{text((*path, name))} is not there")
        if name in removed and not how.recursive and (yield from is_directory(removed[name])):
            raise NotAFile(f"{text((*path, name))} is a directory; remove it with recursive (-r)")
    return edited._replace(blocks=[*blocks, *edited.blocks])


def _given(held: dict[CID, Buffer], plan: Generator[CID, Buffer, _T]) -> Generator[CID, Buffer, _T]:
    """Run a plan with some blocks at hand."""
    try:
        cid = next(plan)
        while True:
            cid = plan.send(held[cid] if cid in held else (yield cid))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _find(directory: CID, name: str, path: Path) -> Generator[CID, Buffer, CID | None]:
    data = yield directory
    if directory.codec != DAG_PB:
        raise NotAFile(f"{text(path)} is a file, not a directory: nothing can be below it")
    return (yield from paths.entry(directory, data, name))


def is_directory(cid: CID) -> Generator[CID, Buffer, bool]:
    """Whether a DAG is a directory."""
    if cid.codec != DAG_PB:
        return False
    data = yield cid
    return unixfs.decode(dag_pb.split(data).data).type in (unixfs.DIRECTORY, unixfs.HAMT_SHARD)


def find(root: CID, path: Path) -> Generator[CID, Buffer, CID | None]:
    """Where a path leads, ``None`` where it does not. ``NotAFile`` where a file is on the way."""
    for depth, name in enumerate(path):
        found = yield from _find(root, name, path[:depth])
        if found is None:
            return None
        root = found
    return root


def weigh(cid: CID) -> Generator[CID, Buffer, Entry]:
    """An entry for a DAG, by its root block alone: what its links say of the rest is believed."""
    data = yield cid
    size = memoryview(data).nbytes
    if cid.codec == RAW:
        return Entry(cid, size)
    below = sum(link.tsize or 0 for link in dag_pb.decode(data).links) if cid.codec == DAG_PB else 0
    return Entry(cid, min(size + below, MAX_TSIZE))


def count_links(cid: CID, data: Buffer) -> int:
    """How many links a root block has."""
    return len(dag_pb.decode(data).links) if cid.codec == DAG_PB else 0


def stat_of(cid: CID, data: Buffer) -> Stat:
    """What a root block tells of permissions and time."""
    if cid.codec != DAG_PB:
        return NO_STAT
    node = unixfs.decode(dag_pb.split(data).data)
    return Stat(node.mode, node.mtime)
