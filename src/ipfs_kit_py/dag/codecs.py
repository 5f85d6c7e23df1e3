"""Blocks as values of the IPLD data model, by codec.

A dag-pb node is the map ``{"Data": bytes, "Links": [{"Hash", "Name", "Tsize"}]}`` of its specification; raw is bytes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ipfs_kit_py.core.cid import CBOR, CID, CODECS, DAG_CBOR, DAG_JSON, DAG_PB, JSON, LIBP2P_KEY, RAW
from ipfs_kit_py.core.errors import InvalidBlock, NotSupported
from ipfs_kit_py.dag import dag_cbor, dag_json, dag_pb

if TYPE_CHECKING:
    from typing_extensions import Buffer

_LINKLESS = frozenset({RAW, JSON, CBOR, LIBP2P_KEY})


def codec_number(name: str) -> int:
    """The multicodec number of a codec's name; ``NotSupported`` naming those that there are."""
    try:
        return CODECS[name]
    except KeyError:
        raise NotSupported(f"codec {name!r} is not known; use one of {', '.join(CODECS)}") from None


def decode(codec: int, data: Buffer, *, strict: bool = True) -> Any:
    """A block's value. Raises ``InvalidBlock`` for bytes that the codec refuses, ``NotSupported`` for other codecs.

    Without ``strict`` dag-cbor may have the relaxed forms of old data; plain CBOR always may.
    """
    if codec == DAG_PB:
        return pb_value(dag_pb.decode(data))
    if codec == DAG_CBOR:
        return dag_cbor.decode(data, strict=strict)
    if codec == DAG_JSON:
        return dag_json.decode(data)
    if codec == RAW:
        return bytes(data)
    if codec == JSON:
        try:
            return json.loads(bytes(data))
        except (ValueError, RecursionError) as error:
            raise InvalidBlock(f"json: {error}") from None
    if codec == CBOR:
        return dag_cbor.decode(data, strict=False)
    raise NotSupported(f"codec {codec:#x} cannot be read here; `block get` gives the bytes")


def read(cid: CID, data: Buffer) -> Any:
    """The value of a block that is there under its CID, so that nobody can mend its form; errors name the block."""
    try:
        return decode(cid.codec, data, strict=False)
    except InvalidBlock as error:
        raise InvalidBlock(f"block {cid}: {error}") from None
    except NotSupported as error:
        raise NotSupported(f"block {cid}: {error}") from None


def encode(value: Any, codec: int) -> bytes:
    """The canonical block of a value; errors as ``decode``."""
    if codec == DAG_PB:
        return dag_pb.encode(pb_node(value))
    if codec in (DAG_CBOR, CBOR):
        return dag_cbor.encode(value)
    if codec == DAG_JSON:
        return dag_json.encode(value)
    if codec == RAW:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise InvalidBlock(f"raw: the value is {type(value).__name__}, not bytes")
        return bytes(value)
    if codec == JSON:
        try:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidBlock(f"json: {error}") from None
    raise NotSupported(f"codec {codec:#x} cannot be written here; `block put` stores bytes as they are")


def links(cid: CID, data: Buffer) -> list[CID]:
    """The CIDs that a block links to, in order; ``InvalidBlock`` and ``NotSupported`` name the block."""
    if cid.codec in _LINKLESS:
        return []
    try:
        if cid.codec == DAG_PB:
            return dag_pb.links(data)
        if cid.codec == DAG_CBOR:
            return dag_cbor.links(data)
    except InvalidBlock as error:
        raise InvalidBlock(f"block {cid}: {error}") from None
    return dag_cbor.links_of(read(cid, data))


def pb_value(node: dag_pb.PBNode) -> dict[str, Any]:
    """A dag-pb node in the data model."""
    value: dict[str, Any] = {} if node.data is None else {"Data": node.data}
    value["Links"] = [
        {
            "Hash": link.cid,
            **({} if link.name is None else {"Name": link.name}),
            **({} if link.tsize is None else {"Tsize": link.tsize}),
        }
        for link in node.links
    ]
    return value


def pb_node(value: Any) -> dag_pb.PBNode:
    """The dag-pb node of a value; ``InvalidBlock`` where its form is not exactly that of the specification."""
    if not isinstance(value, dict) or set(value) - {"Data", "Links"}:
        raise InvalidBlock("dag-pb: a node is a map of Data and Links")
    data = value.get("Data")
    if "Data" in value and not isinstance(data, bytes):
        raise InvalidBlock("dag-pb: Data must be bytes")
    found = value.get("Links")
    if not isinstance(found, list):
        raise InvalidBlock("dag-pb: Links must be a list")
    node = dag_pb.PBNode([_pb_link(link) for link in found], data)
    names = [dag_pb.sort_key(link) for link in node.links]
    if names != sorted(names):
        raise InvalidBlock("dag-pb: Links must be sorted by Name")
    return node


def _pb_link(value: Any) -> dag_pb.PBLink:
    if not isinstance(value, dict) or set(value) - {"Hash", "Name", "Tsize"}:
        raise InvalidBlock("dag-pb: a link is a map of Hash, Name and Tsize")
    cid, name, tsize = value.get("Hash"), value.get("Name"), value.get("Tsize")
    if not isinstance(cid, CID):
        raise InvalidBlock("dag-pb: a link's Hash must be a link")
    if "Name" in value and not isinstance(name, str):
        raise InvalidBlock("dag-pb: a link's Name must be a string")
    if "Tsize" in value and (not isinstance(tsize, int) or isinstance(tsize, bool) or tsize < 0):
        raise InvalidBlock("dag-pb: a link's Tsize must be a whole number")
    return dag_pb.PBLink(cid, name, tsize)
