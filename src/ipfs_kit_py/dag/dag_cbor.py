"""The dag-cbor codec: canonical when written, and iterative both ways, so that no nesting can exhaust the stack.

Links are ``CID`` objects. ``libipld`` is not used: it gives links and byte strings the same type, and writes a byte
string that looks like a CID as a link. Source: ipld/ipld specs/codecs/dag-cbor/spec.md.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import MAX_CODEC_DEPTH, MAX_LINKS_PER_BLOCK
from ipfs_kit_py.core.errors import InvalidBlock, InvalidCID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

_UINT, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG, _SIMPLE = range(8)
_LINK_TAG = 42
_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}
_SIMPLES = {0xF4: False, 0xF5: True, 0xF6: None}
_SIMPLE_BYTES = {0xF8: 1, 0xF9: 2, 0xFA: 4, 0xFB: 8}  # behind the first
_LAST_SIMPLE = 0xFB
_SHORT_FLOATS = {0xF9: ">e", 0xFA: ">f"}
_MIN_ITEM_BYTES = {_LIST: 1, _MAP: 2}  # nothing is begun for a length that the rest of the block cannot hold


def decode(data: Buffer, *, strict: bool = True) -> Any:
    """The value of a block. Raises ``InvalidBlock`` for anything that is not canonical dag-cbor.

    Without ``strict`` what the specification lets a reader of old data relax: keys in any order (never twice), numbers
    and lengths longer than they need be, short floats.
    """
    decoder = _Decoder(bytes(data), strict=strict)
    try:
        value = decoder.run()
    except IndexError:
        raise InvalidBlock("dag-cbor: cut short") from None
    if decoder.at != len(decoder.raw):
        raise InvalidBlock(f"dag-cbor: {len(decoder.raw) - decoder.at} bytes follow the value")
    return value


class _Decoder:
    """One pass with a stack of open containers. ``IndexError`` where the block ends first."""

    __slots__ = ("at", "raw", "strict")

    def __init__(self, raw: bytes, *, strict: bool = False) -> None:
        self.raw = raw
        self.at = 0
        self.strict = strict

    def run(self) -> Any:
        stack: list[tuple[Any, int, str, bytes]] = []
        container: Any = None
        left, key, order = 0, "", b""  # items to come, the key of the next, its bytes
        while True:
            if type(container) is dict:
                key, order = self._key(container, order)
            major, argument = self.head()
            if major in (_LIST, _MAP):
                value: Any = [] if major == _LIST else {}
                if argument:
                    if argument * _MIN_ITEM_BYTES[major] > len(self.raw) - self.at:
                        raise InvalidBlock("dag-cbor: a list or map is longer than its block")
                    if len(stack) >= MAX_CODEC_DEPTH:
                        raise InvalidBlock(f"dag-cbor: nested deeper than {MAX_CODEC_DEPTH}")
                    stack.append((container, left, key, order))
                    container, left, order = value, argument, b""
                    continue
            else:
                value = self._scalar(major, argument)
            while True:
                if container is None:
                    return value
                if type(container) is list:
                    container.append(value)
                else:
                    container[key] = value
                left -= 1
                if left:
                    break
                value = container
                container, left, key, order = stack.pop()

    def head(self) -> tuple[int, int]:
        """Major type and argument of the next item; for a simple value its first byte is the argument."""
        first = self.raw[self.at]
        self.at += 1
        short = first & 31
        if first >= _SIMPLE << 5:
            return _SIMPLE, first
        if short < 24:
            return first >> 5, short
        width = _WIDTHS.get(short)
        if width is None:
            raise InvalidBlock("dag-cbor: indefinite lengths are not allowed")
        value = int.from_bytes(self.take(width), "big")
        if self.strict and value < (24 if width == 1 else 1 << (4 * width)):
            raise InvalidBlock("dag-cbor: a number is not in its shortest form")
        return first >> 5, value

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        start, end = self.at, self.at + size
        if end > len(self.raw):
            raise InvalidBlock("dag-cbor: cut short")
        self.at = end
        return self.raw[start:end]

    def _scalar(self, major: int, argument: int) -> Any:
        if major == _UINT:
            return argument
        if major == _TEXT:
            return _text(self.take(argument))
        if major == _BYTES:
            return self.take(argument)
        if major == _TAG:
            return self.link(argument)
        if major == _NEGATIVE:
            return -1 - argument
        if argument in _SIMPLES:
            return _SIMPLES[argument]
        return self._float(argument)

    def _float(self, first: int) -> float:
        if first == 0xFB:
            value: float = struct.unpack(">d", self.take(8))[0]
        elif first in _SHORT_FLOATS and not self.strict:
            kind = _SHORT_FLOATS[first]
            value = struct.unpack(kind, self.take(struct.calcsize(kind)))[0]
        else:
            raise InvalidBlock(f"dag-cbor: {first:#x} is no value of the data model")
        if not math.isfinite(value):
            raise InvalidBlock("dag-cbor: infinity and NaN are not allowed")
        return value

    def link(self, tag: int) -> CID:
        """The link behind a tag."""
        if tag != _LINK_TAG:
            raise InvalidBlock(f"dag-cbor: tag {tag} is not allowed; only 42 (links) is")
        major, size = self.head()
        body = self.take(size) if major == _BYTES else b""
        if body[:1] != b"\0":
            raise InvalidBlock("dag-cbor: a link must be a byte string that begins with zero")
        try:
            return CID.from_bytes(body[1:])
        except InvalidCID as error:
            raise InvalidBlock(f"dag-cbor: a link is no CID: {error}") from None

    def _key(self, container: dict[str, Any], previous: bytes) -> tuple[str, bytes]:
        major, size = self.head()
        if major != _TEXT:
            raise InvalidBlock("dag-cbor: a map's key is no string")
        raw = self.take(size)
        key = _text(raw)
        if key in container:
            raise InvalidBlock(f"dag-cbor: a map has the key {key[:40]!r} twice")
        if self.strict and container and (size, raw) < (len(previous), previous):
            raise InvalidBlock("dag-cbor: the keys of a map are not in order")
        return key, raw


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InvalidBlock("dag-cbor: a string is no UTF-8") from None


def links(data: Buffer) -> list[CID]:
    """The CIDs that a block links to, in order, without building its value: nothing but its structure is checked.

    ``InvalidBlock`` for bytes that are no CBOR, for a tag that is no link, and beyond ``MAX_LINKS_PER_BLOCK``.
    """
    scanner = _Decoder(bytes(data))
    found: list[CID] = []
    items = 1
    try:
        while items:
            items -= 1
            major, argument = scanner.head()
            if major == _TAG:
                found.append(scanner.link(argument))
                if len(found) > MAX_LINKS_PER_BLOCK:
                    raise InvalidBlock(f"dag-cbor: more than {MAX_LINKS_PER_BLOCK} links")
            elif major in (_BYTES, _TEXT):
                scanner.at += argument
            elif major == _LIST:
                items += argument
            elif major == _MAP:
                items += 2 * argument
            elif major == _SIMPLE:
                if argument > _LAST_SIMPLE:
                    raise InvalidBlock("dag-cbor: a break or a reserved value stands where an item should")
                scanner.at += _SIMPLE_BYTES.get(argument, 0)
    except IndexError:
        raise InvalidBlock("dag-cbor: cut short") from None
    if scanner.at != len(scanner.raw):
        raise InvalidBlock("dag-cbor: the block does not end with its value")
    return found


def links_of(value: Any) -> list[CID]:
    """The CIDs in a value, in order, without recursion."""
    found: list[CID] = []
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, CID):
            found.append(item)
        elif isinstance(item, dict):
            stack.extend(reversed(item.values()))
        elif isinstance(item, list):
            stack.extend(reversed(item))
    return found


def encode(value: Any) -> bytes:
    """The canonical bytes. Raises ``InvalidBlock`` for what the data model has no place for."""
    out = bytearray()
    stack: list[Iterator[Any]] = [iter((value,))]
    while stack:
        for item in stack[-1]:
            if isinstance(item, dict):
                out += _header(_MAP, len(item))
                stack.append(_pairs(item, out))
                break
            if isinstance(item, list | tuple):
                out += _header(_LIST, len(item))
                stack.append(iter(item))
                break
            out += _encode_scalar(item)
        else:
            stack.pop()
        if len(stack) > MAX_CODEC_DEPTH + 1:
            raise InvalidBlock(f"dag-cbor: nested deeper than {MAX_CODEC_DEPTH}")
    return bytes(out)


def _pairs(value: dict[Any, Any], out: bytearray) -> Iterator[Any]:
    """The values in the order of their keys; each key is written before its value is asked for."""
    keys = []
    for key in value:
        if not isinstance(key, str):
            raise InvalidBlock(f"dag-cbor: the key {key!r:.60} of a map is no string")
        raw = _utf8(key)
        keys.append((len(raw), raw, key))
    keys.sort()
    for size, raw, key in keys:
        out += _header(_TEXT, size)
        out += raw
        yield value[key]


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidBlock(f"dag-cbor: the string {text[:40]!r} is no UTF-8") from None


def _header(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes((major << 5 | argument,))
    for short, width in _WIDTHS.items():
        if argument < 1 << (8 * width):
            return bytes((major << 5 | short,)) + argument.to_bytes(width, "big")
    raise InvalidBlock(f"dag-cbor: a number of {argument.bit_length()} bits does not fit 64")


def _encode_scalar(item: Any) -> bytes:
    if isinstance(item, str):
        raw = _utf8(item)
        return _header(_TEXT, len(raw)) + raw
    if isinstance(item, CID):
        return b"\xd8\x2a" + _header(_BYTES, len(item.raw) + 1) + b"\0" + item.raw
    if item is None:
        return b"\xf6"
    if isinstance(item, bool):
        return b"\xf5" if item else b"\xf4"
    if isinstance(item, int):
        return _header(_UINT, item) if item >= 0 else _header(_NEGATIVE, -1 - item)
    if isinstance(item, float):
        if not math.isfinite(item):
            raise InvalidBlock("dag-cbor: infinity and NaN are not allowed")
        return b"\xfb" + struct.pack(">d", item)
    if isinstance(item, bytes | bytearray | memoryview):
        raw = bytes(item)
        return _header(_BYTES, len(raw)) + raw
    raise InvalidBlock(f"dag-cbor: {type(item).__name__} has no place in the data model")
