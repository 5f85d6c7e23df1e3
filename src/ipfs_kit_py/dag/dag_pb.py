"""The dag-pb codec: links and data in protobuf, read strictly and written canonically.

Source: ipld/ipld specs/codecs/dag-pb/spec.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.core import varint
from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import MAX_LINKS_PER_BLOCK
from ipfs_kit_py.core.errors import InvalidBlock, InvalidCID

if TYPE_CHECKING:
    from typing_extensions import Buffer

_LINKS, _DATA = 0x12, 0x0A  # field 2 and field 1, both length-delimited
_HASH, _NAME, _TSIZE = 0x0A, 0x12, 0x18


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


def encode(node: PBNode) -> bytes:
    """The canonical bytes: links first, sorted by the bytes of their names, equal names in the order given."""
    parts: list[bytes] = []
    for link in sorted(node.links, key=sort_key) if any(link.name for link in node.links) else node.links:
        body = _encode_link(link)
        parts += (b"\x12", varint.encode(len(body)), body)
    if node.data is not None:
        parts += (b"\x0a", varint.encode(len(node.data)), node.data)
    return b"".join(parts)


def sort_key(link: PBLink) -> bytes:
    """What links are ordered by: the bytes of the name."""
    return (link.name or "").encode("utf-8", "surrogateescape")


def _encode_link(link: PBLink) -> bytes:
    raw = link.cid.raw
    parts = [b"\x0a", varint.encode(len(raw)), raw]
    if link.name is not None:
        name = link.name.encode("utf-8", "surrogateescape")
        parts += (b"\x12", varint.encode(len(name)), name)
    if link.tsize is not None:
        parts += (b"\x18", varint.encode(link.tsize))
    return b"".join(parts)


def decode(data: Buffer) -> PBNode:
    """Read a node. Raises ``InvalidBlock`` for anything that the specification does not allow.

    Data before the links is read too (old writers made it); data between links is not.
    """
    raw = bytes(data)
    links: list[PBLink] = []
    content: bytes | None = None
    at, links_over = 0, False
    while at < len(raw):
        tag, at = raw[at], at + 1
        body, at = _bytes(raw, at)
        if tag == _LINKS:
            if links_over:
                raise InvalidBlock("dag-pb: data stands between links")
            if len(links) == MAX_LINKS_PER_BLOCK:
                raise InvalidBlock(f"dag-pb: more than {MAX_LINKS_PER_BLOCK} links")
            links.append(_decode_link(body))
        elif tag == _DATA:
            if content is not None:
                raise InvalidBlock("dag-pb: data stands there twice")
            content = body
            links_over = bool(links)
        else:
            raise InvalidBlock(f"dag-pb: field tag {tag:#x} is not one of a node")
    return PBNode(links, content)


def links(data: Buffer) -> list[CID]:
    """The CIDs that a node links to, in order."""
    return [link.cid for link in decode(data).links]


def _decode_link(raw: bytes) -> PBLink:
    cid: CID | None = None
    name: str | None = None
    tsize: int | None = None
    at = last = 0
    while at < len(raw):
        tag, at = raw[at], at + 1
        if tag <= last:
            raise InvalidBlock("dag-pb: the fields of a link are out of order or repeated")
        last = tag
        if tag == _HASH:
            body, at = _bytes(raw, at)
            try:
                cid = CID.from_bytes(body)
            except InvalidCID as error:
                raise InvalidBlock(f"dag-pb: a link's Hash is no CID: {error}") from None
        elif tag == _NAME:
            body, at = _bytes(raw, at)
            name = body.decode("utf-8", "surrogateescape")
        elif tag == _TSIZE:
            tsize, at = _varint(raw, at)
        else:
            raise InvalidBlock(f"dag-pb: field tag {tag:#x} is not one of a link")
    if cid is None:
        raise InvalidBlock("dag-pb: a link without Hash")
    return PBLink(cid, name, tsize)


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    try:
        if raw[at] < 0x80:
            return raw[at], at + 1
        return varint.decode(raw, at, strict=False, max_bytes=10)
    except (IndexError, ValueError) as error:
        raise InvalidBlock(f"dag-pb: a number is cut short or too long: {error}") from None


def _bytes(raw: bytes, at: int) -> tuple[bytes, int]:
    size, at = _varint(raw, at)
    if size > len(raw) - at:
        raise InvalidBlock(f"dag-pb: a field of {size} bytes is cut short")
    return raw[at : at + size], at + size
