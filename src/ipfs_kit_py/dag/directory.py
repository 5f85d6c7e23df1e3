"""Build directories: one block while it is small, a HAMT when it is not.

Source: ipfs/specs src/unixfs.md, sections "Directory" and "HAMTShard"; src/ipips/ipip-0499.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.core import varint
from ipfs_kit_py.core.config import MAX_NAME_BYTES
from ipfs_kit_py.core.errors import InvalidName
from ipfs_kit_py.dag import dag_pb, unixfs
from ipfs_kit_py.dag.builder import NO_STAT
from ipfs_kit_py.dag.hamt import MAX_TSIZE, build_hamt, name_bytes
from ipfs_kit_py.dag.profiles import Built, Profile, Stat, stored

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from ipfs_kit_py.core.cid import CID


def check_name(name: str) -> str:
    """This name; raises ``InvalidName`` unless a directory entry may have it. Names of bytes that are no UTF-8 hold
    them as surrogate escapes, as ``os.fsdecode`` makes them."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise InvalidName(f"{name[:80]!r} is no name for a directory entry")
    try:
        size = len(name_bytes(name))
    except UnicodeEncodeError:
        raise InvalidName(f"{name[:80]!r} has no form in bytes") from None
    if size > MAX_NAME_BYTES:
        raise InvalidName(f"the name {name[:80]!r}… has {size} bytes; at most {MAX_NAME_BYTES} are allowed")
    return name


class DirectoryBuilder:
    """One directory. Entries come in any order and are held, some hundred bytes each; ``finish`` makes the blocks.

    The result depends on the entries alone. (Kubo 0.43 decides while it adds: a directory with subdirectories that is
    over the threshold by less than the length of a link can come out as one block there.)
    """

    def __init__(self, profile: Profile, stat: Stat = NO_STAT) -> None:
        self._profile = profile
        self._stat = stat
        self._entries: dict[str, dag_pb.PBLink] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def add(self, name: str, cid: CID, tsize: int) -> None:
        """Add an entry; ``tsize`` is the cumulative size of its DAG in bytes. Raises ``InvalidName`` for a name that
        no entry may have or that is here already."""
        if name in self._entries:
            raise InvalidName(f"the directory has an entry {name[:80]!r} already")
        self._entries[check_name(name)] = dag_pb.PBLink(cid, name, tsize)

    def finish(self) -> Built:
        """The root, its cumulative size, and all blocks, children first."""
        return build_directory(self._entries.values(), self._profile, self._stat)


def build_directory(links: Collection[dag_pb.PBLink], profile: Profile, stat: Stat = NO_STAT) -> Built:
    """The directory of entries whose names are checked and differ."""
    if exceeds(links, profile, stat):
        return build_hamt(links, profile, stat)
    ordered = sorted(links, key=lambda link: name_bytes(link.name or ""))
    block = profile.block(dag_pb.encode(dag_pb.PBNode(ordered, _head(stat))))
    tsize = memoryview(block.data).nbytes + sum(link.tsize or 0 for link in ordered)
    return Built(block.cid, 0, min(tsize, MAX_TSIZE), stored(block))


def exceeds(links: Iterable[dag_pb.PBLink], profile: Profile, stat: Stat) -> bool:
    """Whether a directory of these entries is a HAMT."""
    if not profile.hamt_threshold:
        return False
    left, weigh = estimate(profile, stat)
    for link in links:
        left -= weigh(link)
        if left < 0:
            return True
    return False


def estimate(profile: Profile, stat: Stat) -> tuple[int, Callable[[dag_pb.PBLink], int]]:
    """How many bytes of entries one block may hold, and what an entry counts."""
    if profile.hamt_estimate == "block":
        return profile.hamt_threshold - field_size(len(_head(stat))), link_size
    return profile.hamt_threshold, short_link_size


def _head(stat: Stat) -> bytes:
    return unixfs.encode(unixfs.FSNode(type=unixfs.DIRECTORY, mode=stat.mode, mtime=stat.mtime))


def short_link_size(link: dag_pb.PBLink) -> int:
    """What an entry counts in the estimate of the older profile, in bytes."""
    return len(name_bytes(link.name or "")) + len(link.cid.raw)


def link_size(link: dag_pb.PBLink) -> int:
    """The bytes of an entry in a directory's block."""
    inner = field_size(len(link.cid.raw)) + field_size(len(name_bytes(link.name or "")))
    return field_size(inner + 1 + _varint_size(link.tsize or 0))


def field_size(size: int) -> int:
    """The bytes of a protobuf field that holds ``size`` bytes and has a one-byte tag."""
    return 1 + _varint_size(size) + size


def _varint_size(value: int) -> int:
    return len(varint.encode(value)) if value > 0x7F else 1
