"""The index of a DAG that is in several archives: which archive each block is in, and where.

Source: storacha/specs w3-index.md (``index/sharded/dag@0.1``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ipfs_kit_py.core import multihash as mhash
from ipfs_kit_py.core.cid import CID, DAG_CBOR
from ipfs_kit_py.core.config import STORACHA_BLOCKS, STORACHA_INDEX_BYTES, STORACHA_SHARDS
from ipfs_kit_py.core.errors import InvalidBlock, InvalidCID
from ipfs_kit_py.dag import car, dag_cbor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

VERSION = "index/sharded/dag@0.1"


class Place(NamedTuple):
    """Where a block is: the archive's multihash, and offset and length in bytes."""

    shard: bytes
    offset: int
    length: int


@dataclass(frozen=True)
class ShardIndex:
    """An index. ``places`` are by the blocks' multihashes."""

    content: CID
    shards: tuple[bytes, ...]
    places: Mapping[bytes, Place]


def encode_shard(shard: bytes, slices: Iterable[tuple[bytes, int, int]]) -> bytes:
    """The part of one archive as a block: multihash, offset and length of each of its blocks, by digest."""
    rows = sorted((mhash.split(name)[1], name, offset, length) for name, offset, length in slices)
    return dag_cbor.encode([shard, [[name, [offset, length]] for _digest, name, offset, length in rows]])


def encode_index(content: CID, shards: Mapping[bytes, bytes]) -> bytes:
    """The index of the DAG ``content`` as an archive; ``shards`` are the parts by their archive's multihash."""
    parts = [shards[name] for name in sorted(shards, key=lambda name: mhash.split(name)[1])]
    links = [CID.of(part, DAG_CBOR) for part in parts]
    data = dag_cbor.encode({VERSION: {"content": content, "shards": links}})
    root = CID.of(data, DAG_CBOR)
    out = [car.header([root])]
    for cid, part in ((root, data), *zip(links, parts, strict=True)):
        out += [bytes(piece) for piece in car.section(cid, part)]
    return b"".join(out)


def decode_index(raw: bytes) -> ShardIndex:
    """An index of its archive; raises ``InvalidBlock``, also where it is over its bounds."""
    if len(raw) > STORACHA_INDEX_BYTES:
        raise InvalidBlock(f"an index of {len(raw)} bytes; the limit is {STORACHA_INDEX_BYTES}")
    header, found = car.read_car(raw)
    blocks = {block.cid: bytes(block.data) for block in found}
    root = blocks.get(header.roots[0]) if len(header.roots) == 1 else None
    value = None if root is None else dag_cbor.decode(root)
    body = value.get(VERSION) if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(body, dict) or not isinstance(content := body.get("content"), CID):
        raise InvalidBlock(f"the archive is no index of {VERSION}")
    links = body.get("shards")
    if not isinstance(links, list) or len(links) > STORACHA_SHARDS:
        raise InvalidBlock(f"an index names no archives, or more than {STORACHA_SHARDS}")
    shards: list[bytes] = []
    places: dict[bytes, Place] = {}
    for link in links:
        if not isinstance(link, CID) or link not in blocks:
            raise InvalidBlock("an index lacks the part of one of its archives")
        shards.append(_read_shard(dag_cbor.decode(blocks[link]), places))
    return ShardIndex(content, tuple(shards), places)


def _read_shard(value: Any, places: dict[bytes, Place]) -> bytes:
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], list):
        raise InvalidBlock("an index's part is no archive with its slices")
    shard = _multihash(value[0])
    if len(places) + len(value[1]) > STORACHA_BLOCKS + STORACHA_SHARDS:
        raise InvalidBlock(f"an index of more than {STORACHA_BLOCKS} blocks")
    for row in value[1]:
        match row:
            case [bytes() as name, [int() as offset, int() as length]] if (
                0 <= offset < 1 << 53 and 0 <= length < 1 << 53
            ):
                places.setdefault(_multihash(name), Place(shard, offset, length))
            case _:
                raise InvalidBlock("an index's slice is no name with offset and length")
    return shard


def _multihash(value: Any) -> bytes:
    try:
        if isinstance(value, bytes):
            mhash.check_allowed(*_code_and_size(value))
            return value
    except InvalidCID as error:
        raise InvalidBlock(f"an index's name is no multihash: {error}") from None
    raise InvalidBlock("an index's name is no multihash")


def _code_and_size(value: bytes) -> tuple[int, int]:
    code, digest = mhash.split(value)
    return code, len(digest)
