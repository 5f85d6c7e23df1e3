"""The dag-pb codec: links and data in protobuf, read strictly and written canonically.

Source: ipld/ipld specs/codecs/dag-pb/spec.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.core.cid import CID, DAG_CBOR, DAG_PB, RAW
from ipfs_kit_py.core.config import MAX_LINKS_PER_BLOCK
from ipfs_kit_py.core.errors import InvalidBlock, InvalidCID
from ipfs_kit_py.dag.protobuf import number, read_number, read_span

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

_LINKS, _DATA = 0x12, 0x0A  # field 2 and field 1, both length-delimited
_HASH, _NAME, _TSIZE = 0x0A, 0x12, 0x18
# beginnings of CIDs that are well-formed at this length: version 1 with sha2-256
_COMMON = {bytes((1, codec, 0x12, 0x20)): 36 for codec in (RAW, DAG_PB, DAG_CBOR)}


class PBLink(NamedTuple):
    """A link: what it names, the name (``None``: the field is absent), and the cumulative size of what is below.

    Names that are no UTF-8 hold their bytes as surrogate escapes.
    """

    cid: CID
    name: str | None = None
    tsize: int | None = None


class PBNode(NamedTuple):
    """A node; ``data`` is ``None`` where the field is absent."""

    links: list[PBLink]
    data: bytes | None = None


class Split(NamedTuple):
    """A node taken apart without building its links: their CIDs in binary form, the cumulative sizes that they tell,
    and the data in place."""

    cids: list[bytes]
    tsizes: list[int | None]
    data: memoryview


def encode(node: PBNode) -> bytes:
    """The canonical bytes: links first, sorted by the bytes of their names, equal names in the order given."""
    parts: list[bytes] = []
    for link in sorted(node.links, key=sort_key) if any(link.name for link in node.links) else node.links:
        body = _encode_link(link)
        parts += (b"\x12", number(len(body)), body)
    if node.data is not None:
        parts += (b"\x0a", number(len(node.data)), node.data)
    return b"".join(parts)


def sort_key(link: PBLink) -> bytes:
    """What links are ordered by: the bytes of the name."""
    return _name_bytes(link.name or "")


def _name_bytes(name: str) -> bytes:
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidBlock(f"dag-pb: the name {name[:40]!r} is no text") from None


def _encode_link(link: PBLink) -> bytes:
    raw = link.cid.raw
    parts = [b"\x0a", number(len(raw)), raw]
    if link.name is not None:
        name = _name_bytes(link.name)
        parts += (b"\x12", number(len(name)), name)
    if link.tsize is not None:
        parts += (b"\x18", number(link.tsize))
    return b"".join(parts)


def decode(data: Buffer) -> PBNode:
    """Read a node. Raises ``InvalidBlock`` for anything that the specification does not allow.

    Data before the links is read too (old writers made it); data between links is not.
    """
    raw = bytes(data)
    links: list[PBLink] = []

    def keep(cid: bytes, at: int, end: int, tsize: int | None) -> None:
        name = None if end < at else raw[at:end].decode("utf-8", "surrogateescape")
        links.append(PBLink(CID.from_bytes(cid), name, tsize))

    content = _read(raw, keep)
    return PBNode(links, None if content is None else raw[slice(*content)])


def links(data: Buffer) -> list[CID]:
    """The CIDs that a node links to, in order; raises as ``decode``."""
    return [CID.from_bytes(raw) for raw in split(data).cids]


def split(data: Buffer) -> Split:
    """The node without objects for its links; checked and refused as by ``decode``."""
    raw = data if isinstance(data, bytes) else bytes(data)
    cids: list[bytes] = []
    tsizes: list[int | None] = []

    def keep(cid: bytes, _at: int, _end: int, tsize: int | None) -> None:
        cids.append(cid)
        tsizes.append(tsize)

    start, end = _read(raw, keep) or (0, 0)
    return Split(cids, tsizes, memoryview(raw)[start:end])


def _read(raw: bytes, keep: Callable[[bytes, int, int, int | None], None]) -> tuple[int, int] | None:
    """Go through a node; ``keep`` takes each link. Returns where the data is."""
    content: tuple[int, int] | None = None
    at, count, stop, links_over = 0, 0, len(raw), False
    try:
        while at < stop:
            tag = raw[at]
            start, at = read_span(raw, at + 1, stop)
            if tag == _LINKS:
                count += 1
                if links_over:
                    raise InvalidBlock("data stands between links")
                if count > MAX_LINKS_PER_BLOCK:
                    raise InvalidBlock(f"more than {MAX_LINKS_PER_BLOCK} links")
                keep(*_read_link(raw, start, at))
            elif tag == _DATA:
                if content is not None:
                    raise InvalidBlock("data stands there twice")
                content = start, at
                links_over = count > 0
            else:
                raise InvalidBlock(f"field tag {tag:#x} is not one of a node")
    except InvalidBlock as error:
        raise InvalidBlock(f"dag-pb: {error}") from None
    return content


def _read_link(raw: bytes, at: int, stop: int) -> tuple[bytes, int, int, int | None]:
    """A link's CID, where its name is (the end before the start: nowhere), and its cumulative size."""
    if at >= stop or raw[at] != _HASH:
        raise InvalidBlock("a link does not begin with its Hash")
    start, at = read_span(raw, at + 1, stop)
    cid = raw[start:at]
    if len(cid) != _COMMON.get(cid[:4]) and (cid[:2] != b"\x12\x20" or len(cid) != 34):
        _check_cid(cid)
    name, end, tsize = 0, -1, None
    if at < stop and raw[at] == _NAME:
        name, end = read_span(raw, at + 1, stop)
        at = end
    if at < stop and raw[at] == _TSIZE:
        tsize, at = read_number(raw, at + 1)
    if at != stop:
        raise InvalidBlock("the fields of a link are out of order, repeated, unknown or cut short")
    return cid, name, end, tsize


def _check_cid(raw: bytes) -> None:
    try:
        CID.from_bytes(raw)
    except InvalidCID as error:
        raise InvalidBlock(f"a link's Hash is no CID: {error}") from None
