"""The dag-cbor codec: strict, canonical both ways, and iterative, so that no nesting can exhaust the stack.

Links are ``CID`` objects. ``libipld`` is not used: it gives links and byte strings the same type, and writes a byte
string that looks like a CID as a link. Source: ipld/ipld specs/codecs/dag-cbor/spec.md.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import MAX_CODEC_DEPTH
from ipfs_kit_py.core.errors import InvalidBlock, InvalidCID

if TYPE_CHECKING:
    from typing_extensions import Buffer

_UINT, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG, _SIMPLE = range(8)
_LINK_TAG = 42
_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}
_SIMPLES = {20: False, 21: True, 22: None}


def decode(data: Buffer) -> Any:
    """The value of a block. Raises ``InvalidBlock`` for anything that is not canonical dag-cbor."""
    decoder = _Decoder(bytes(data))
    value = decoder.run()
    if decoder.at != len(decoder.raw):
        raise InvalidBlock(f"dag-cbor: {len(decoder.raw) - decoder.at} bytes follow the value")
    return value


class _Decoder:
    """One pass with a stack of open containers: ``[container, items left, key]``."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 0

    def run(self) -> Any:
        value: Any = None
        stack: list[list[Any]] = []  # [container, items left, current key, its bytes]
        while True:
            major, argument, start = self._head()
            opened = False
            if major in (_LIST, _MAP):
                # an item takes at least one byte: nothing is allocated for a length that cannot be true
                if argument * (1 if major == _LIST else 2) > len(self.raw) - self.at:
                    raise InvalidBlock("dag-cbor: a list or map is longer than its block")
                value = [] if major == _LIST else {}
                if argument:
                    if len(stack) >= MAX_CODEC_DEPTH:
                        raise InvalidBlock(f"dag-cbor: nested deeper than {MAX_CODEC_DEPTH}")
                    stack.append([value, argument, None, b""])
                    opened = True
            else:
                value = self._scalar(major, argument, start)
            while not opened:
                if not stack:
                    return value
                top = stack[-1]
                container = top[0]
                if isinstance(container, list):
                    container.append(value)
                else:
                    container[top[2]] = value
                top[1] -= 1
                if top[1]:
                    break
                value = container
                stack.pop()
            if stack and isinstance(stack[-1][0], dict):
                self._key(stack[-1])

    def _head(self) -> tuple[int, int, int]:
        start = self.at
        if start >= len(self.raw):
            raise InvalidBlock("dag-cbor: cut short")
        first = self.raw[start]
        major, short = first >> 5, first & 31
        self.at = start + 1
        if short < 24:
            return major, short, start
        width = _WIDTHS.get(short)
        if width is None:
            raise InvalidBlock("dag-cbor: indefinite lengths are not allowed")
        body = self._take(width)
        if major == _SIMPLE:
            return major, short, start
        value = int.from_bytes(body, "big")
        if value < (24 if width == 1 else 1 << (4 * width)):
            raise InvalidBlock("dag-cbor: a number is not in its shortest form")
        return major, value, start

    def _take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.raw):
            raise InvalidBlock("dag-cbor: cut short")
        found = self.raw[self.at : end]
        self.at = end
        return found

    def _scalar(self, major: int, argument: int, start: int) -> Any:
        if major == _UINT:
            return argument
        if major == _NEGATIVE:
            return -1 - argument
        if major == _BYTES:
            return self._take(argument)
        if major == _TEXT:
            return self._text(argument)
        if major == _TAG:
            return self._link(argument)
        if argument in _SIMPLES and self.at == start + 1:
            return _SIMPLES[argument]
        if self.raw[start] == 0xFB:
            value = struct.unpack(">d", self.raw[start + 1 : self.at])[0]
            if math.isfinite(value):
                return value
            raise InvalidBlock("dag-cbor: infinity and NaN are not allowed")
        raise InvalidBlock(f"dag-cbor: {self.raw[start]:#x} is no value of the data model")

    def _text(self, size: int) -> str:
        try:
            return self._take(size).decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidBlock("dag-cbor: a string is no UTF-8") from None

    def _link(self, tag: int) -> CID:
        if tag != _LINK_TAG:
            raise InvalidBlock(f"dag-cbor: tag {tag} is not allowed; only 42 (links) is")
        major, size, _ = self._head()
        body = self._take(size) if major == _BYTES else b""
        if body[:1] != b"\0":
            raise InvalidBlock("dag-cbor: a link must be a byte string that begins with zero")
        try:
            return CID.from_bytes(body[1:])
        except InvalidCID as error:
            raise InvalidBlock(f"dag-cbor: a link is no CID: {error}") from None

    def _key(self, top: list[Any]) -> None:
        major, size, _ = self._head()
        if major != _TEXT:
            raise InvalidBlock("dag-cbor: a map's key is no string")
        start = self.at
        key = self._text(size)
        raw = self.raw[start : self.at]
        if top[2] is not None and (len(raw), raw) <= (len(top[3]), top[3]):
            raise InvalidBlock("dag-cbor: the keys of a map are not unique and in order")
        top[2], top[3] = key, raw


def encode(value: Any) -> bytes:
    """The canonical bytes. Raises ``InvalidBlock`` for what the data model has no place for."""
    out = bytearray()
    stack: list[Any] = [iter((value,))]
    while stack:
        try:
            item = next(stack[-1])
        except StopIteration:
            stack.pop()
            continue
        if isinstance(item, _Raw):
            out += item.data
        elif isinstance(item, list | tuple):
            out += _header(_LIST, len(item))
            stack.append(iter(item))
        elif isinstance(item, dict):
            out += _header(_MAP, len(item))
            stack.append(_pairs(item))
        else:
            out += _encode_scalar(item)
        if len(stack) > MAX_CODEC_DEPTH + 1:
            raise InvalidBlock(f"dag-cbor: nested deeper than {MAX_CODEC_DEPTH}")
    return bytes(out)


class _Raw:
    """Bytes that are encoded already."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


def _pairs(value: dict[Any, Any]) -> Any:
    keys = []
    for key in value:
        if not isinstance(key, str):
            raise InvalidBlock(f"dag-cbor: the key {key!r} of a map is no string")
        keys.append((_utf8(key), key))
    for raw, key in sorted(keys, key=lambda pair: (len(pair[0]), pair[0])):
        yield _Raw(_header(_TEXT, len(raw)) + raw)
        yield value[key]


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidBlock(f"dag-cbor: the string {text[:40]!r} is no UTF-8") from None


def _header(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes((major << 5 | argument,))
    for short, width in _WIDTHS.items():
        if argument < 1 << (8 * width):
            return bytes((major << 5 | short,)) + argument.to_bytes(width, "big")
    raise InvalidBlock(f"dag-cbor: {argument} does not fit 64 bits")


def _encode_scalar(item: Any) -> bytes:
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
    if isinstance(item, str):
        raw = _utf8(item)
        return _header(_TEXT, len(raw)) + raw
    if isinstance(item, CID):
        return b"\xd8\x2a" + _header(_BYTES, len(item.raw) + 1) + b"\0" + item.raw
    if isinstance(item, bytes | bytearray | memoryview):
        return _header(_BYTES, len(item)) + bytes(item)
    raise InvalidBlock(f"dag-cbor: {type(item).__name__} has no place in the data model")


def links(data: Buffer) -> list[CID]:
    """The CIDs that a block links to, in order."""
    return links_of(decode(data))


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
