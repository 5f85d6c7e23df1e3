"""The dag-json codec: canonical JSON with links as ``{"/": "CID"}`` and bytes as ``{"/": {"bytes": "base64"}}``.

Source: ipld/ipld specs/codecs/dag-json/spec.md.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from typing import TYPE_CHECKING, Any, NoReturn

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import MAX_CODEC_DEPTH
from ipfs_kit_py.core.errors import InvalidBlock, InvalidCID

if TYPE_CHECKING:
    from typing_extensions import Buffer

# CPython's parser recurses once a level; its own limit would be met first on a deep stack, so depth is counted before
# (one that does not end counts as a string too: every byte is then looked at once, whatever the block is made of)
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
JSON_DEPTH = min(MAX_CODEC_DEPTH, 256)
_BYTES = bytes | bytearray | memoryview
_SURROGATE = "\\ud"  # how an escape begins that may be half of a pair


def decode(data: Buffer) -> Any:
    """The value of a block. Raises ``InvalidBlock`` for what is no dag-json: duplicate keys, misused ``"/"``, NaN."""
    raw = bytes(data)
    if _depth(raw) > JSON_DEPTH:
        raise InvalidBlock(f"dag-json: nested deeper than {JSON_DEPTH}")
    try:
        text = raw.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
    except UnicodeDecodeError:
        raise InvalidBlock("dag-json: no UTF-8") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidBlock):
            raise
        raise InvalidBlock(f"dag-json: {error}") from None
    if _SURROGATE in text.lower():
        encode(value)  # refuses strings with half of a pair
    return value


def _depth(raw: bytes) -> int:
    """The deepest nesting of brackets outside of strings."""
    bare = _STRINGS.sub(b"", raw)
    deepest = depth = 0
    for match in re.finditer(rb"[\[{\]}]", bare):
        if match.group() in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def _constant(name: str) -> NoReturn:
    raise InvalidBlock(f"dag-json: {name} is not allowed")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InvalidBlock(f"dag-json: the number {text[:40]} is too large")
    return value


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidBlock("dag-json: a map has a key twice")
    if not pairs or pairs[0][0] != "/":
        _check_slash(found)
        return found
    value = found["/"]
    if len(found) > 1:
        _check_slash(found)
        return found
    if isinstance(value, str):
        try:
            return CID.parse(value)
        except InvalidCID as error:
            raise InvalidBlock(f"dag-json: a link is no CID: {error}") from None
    if isinstance(value, dict) and list(value) == ["bytes"] and isinstance(value["bytes"], str):
        return _unbase64(value["bytes"])
    raise InvalidBlock('dag-json: "/" is reserved for links and bytes')


def _check_slash(value: dict[Any, Any]) -> None:
    """Refuse a map that a reader could take for a link or for bytes."""
    if "/" in value and (len(value) == 1 or isinstance(value["/"], str | dict | CID | _BYTES)):
        raise InvalidBlock('dag-json: the key "/" is reserved for links and bytes, which have no other keys')


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except binascii.Error as error:
        raise InvalidBlock(f"dag-json: bytes are no base64: {error}") from None


def encode(value: Any) -> bytes:
    """The canonical bytes: keys sorted, no white space. Raises ``InvalidBlock`` for what has no place in the model."""
    try:
        return _text(value, 0).encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidBlock("dag-json: a string is no UTF-8") from None
    except ValueError as error:
        if isinstance(error, InvalidBlock):
            raise
        raise InvalidBlock(f"dag-json: {error}") from None  # a number with more digits than Python writes


def _text(value: Any, depth: int) -> str:
    if depth > JSON_DEPTH:
        raise InvalidBlock(f"dag-json: nested deeper than {JSON_DEPTH}")
    if isinstance(value, CID):
        return f'{{"/":"{value}"}}'
    if isinstance(value, _BYTES):
        return f'{{"/":{{"bytes":"{base64.b64encode(value).decode().rstrip("=")}"}}}}'
    if isinstance(value, dict):
        return _map_text(value, depth)
    if isinstance(value, list | tuple):
        return "[" + ",".join([_text(item, depth + 1) for item in value]) + "]"
    if value is None or isinstance(value, bool | int | str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and math.isfinite(value):
        return _number(value)
    raise InvalidBlock(f"dag-json: {value!r:.60} has no place in the data model")


def _map_text(value: dict[Any, Any], depth: int) -> str:
    for key in value:
        if not isinstance(key, str):
            raise InvalidBlock(f"dag-json: the key {key!r} of a map is no string")
    _check_slash(value)
    keys = sorted(value, key=lambda key: key.encode("utf-8", "surrogatepass"))
    pairs = [f"{json.dumps(key, ensure_ascii=False)}:{_text(value[key], depth + 1)}" for key in keys]
    return "{" + ",".join(pairs) + "}"


def _number(value: float) -> str:
    """A float that reads back as one: with a fraction or an exponent."""
    text = repr(value)
    mantissa, mark, exponent = text.partition("e")
    if mark:
        return f"{mantissa}e{int(exponent)}"
    return mantissa if "." in mantissa else f"{mantissa}.0"
