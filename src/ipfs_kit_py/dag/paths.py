"""Paths below a CID: ``/ipfs/CID/a/b``, ``ipfs://CID/a/b``, ``CID/a/b``, through directories and IPLD values.

A resolution is a generator: it yields the CIDs of the blocks that it needs, is sent their bytes, and returns what it
found.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ipfs_kit_py.core.cid import CID, DAG_PB, RAW
from ipfs_kit_py.core.config import MAX_PATH_SEGMENTS
from ipfs_kit_py.core.errors import InvalidBlock, InvalidCID, NotFound, NotSupported
from ipfs_kit_py.core.text import printable
from ipfs_kit_py.dag import codecs, dag_pb, hamt, unixfs
from ipfs_kit_py.dag.protobuf import named

if TYPE_CHECKING:
    from collections.abc import Generator

    from typing_extensions import Buffer


_INDEX = re.compile("[0-9]{1,9}")  # of a list; no block holds one with more items


class Resolved(NamedTuple):
    """Where a path leads: a block, and where the path goes on inside of its value, the value there.

    ``inside`` are the segments below ``cid`` within one block of dag-cbor or dag-json (empty: the block itself).
    """

    cid: CID
    inside: tuple[str, ...] = ()
    value: Any = None


def parse(path: str | CID) -> tuple[CID, tuple[str, ...]]:
    """The root and the segments of a path. Raises ``InvalidCID`` for a root that is none, ``NotSupported`` for IPNS."""
    if isinstance(path, CID):
        return path, ()
    text = path.removeprefix("ipfs://").removeprefix("/ipfs/")
    if text.startswith(("/ipns/", "ipns://")):
        raise NotSupported(f"{printable(path)}: names are not resolved in this version; give the CID")
    root, *segments = text.split("/")
    segments = [segment for segment in segments if segment]
    if not root:
        raise InvalidCID(f"no CID in the path {path!r}; it looks like /ipfs/CID/name or CID/name")
    if len(segments) > MAX_PATH_SEGMENTS:
        raise InvalidCID(f"the path has more than {MAX_PATH_SEGMENTS} segments")
    return CID.parse(root), tuple(segments)


def resolve(path: str | CID) -> Generator[CID, Buffer, Resolved]:
    """Follow a path. Raises ``NotFound`` naming the segment that is not there; links on the way are not followed."""
    cid, segments = parse(path)
    done = 0
    while done < len(segments):
        data = yield cid
        if cid.codec == DAG_PB:
            found = yield from entry(cid, data, segments[done])
            if found is None:
                raise NotFound(f"no {printable(segments[done])!r} in {_so_far(path, segments, done)}", cid=cid)
            cid, done = found, done + 1
            continue
        if cid.codec == RAW:
            raise NotFound(f"{_so_far(path, segments, done)} is raw bytes and has nothing below it", cid=cid)
        value = codecs.read(cid, data)
        inside = done
        while done < len(segments) and not isinstance(value, CID):
            value = _step(value, segments[done], _so_far(path, segments, done), cid)
            done += 1
        if not isinstance(value, CID):
            return Resolved(cid, segments[inside:done], value)
        cid = value
    return Resolved(cid)


def _so_far(path: str | CID, segments: tuple[str, ...], done: int) -> str:
    root = parse(path)[0]
    return "/".join([str(root), *map(printable, segments[:done])])


def entry(cid: CID, data: Buffer, name: str) -> Generator[CID, Buffer, CID | None]:
    """The CID of a directory's entry; plain dag-pb nodes resolve by the names of their links."""
    try:
        node = dag_pb.decode(data)
    except InvalidBlock as error:
        raise named(error, cid) from None
    kind = None
    with suppress(InvalidBlock):  # a node of dag-pb that is no UnixFS: its links have names all the same
        kind = unixfs.decode(node.data or b"").type
    if kind == unixfs.HAMT_SHARD:
        link = yield from hamt.lookup(cid, name, data)
        return None if link is None else link.cid
    for candidate in node.links:
        if candidate.name == name:
            return candidate.cid
    return None


def _step(value: Any, segment: str, where: str, cid: CID) -> Any:
    if isinstance(value, dict) and segment in value:
        return value[segment]
    if isinstance(value, list) and _INDEX.fullmatch(segment) and int(segment) < len(value):
        return value[int(segment)]
    raise NotFound(f"no {printable(segment)!r} in {where}", cid=cid)
