"""Multiaddrs: a path of protocols with their values, as text and as bytes.

Own code, because the package of that name depends on others that have no wheels.
Source: github.com/multiformats/multiaddr, its protocols.csv and README.
"""

from __future__ import annotations

import base64
import ipaddress
from typing import TYPE_CHECKING, NamedTuple

import libipld

from ipfs_kit_py.core import multihash, varint
from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.errors import InvalidAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from typing_extensions import Buffer

Parts = tuple[tuple[str, str], ...]

_NONE, _VARIABLE = 0, -1


class _Protocol(NamedTuple):
    """A row of the table. ``size``: of the value in bytes, or that a varint tells it. ``encode``: text to bytes."""

    code: int
    name: str
    size: int
    encode: Callable[[str], bytes]
    decode: Callable[[bytes], str]
    is_path: bool = False  # its value runs to the end of the text, slashes and all


def _number(size: int) -> tuple[int, Callable[[str], bytes], Callable[[bytes], str]]:
    def encode(text: str) -> bytes:
        if not (text.isascii() and text.isdecimal()):
            raise ValueError(f"{text!r} is not a number")
        return int(text[:20]).to_bytes(size, "big")  # 20 digits are more than 8 bytes hold

    return size, encode, lambda raw: str(int.from_bytes(raw, "big"))


def _encode_ip6(text: str) -> bytes:
    if "%" in text:
        raise ValueError("a zone means something on one machine only")
    return ipaddress.IPv6Address(text).packed


def _encode_name(text: str) -> bytes:
    if not text or "/" in text:
        raise ValueError(f"{text!r} is not a name")
    return text.encode()


def _decode_name(raw: bytes) -> str:
    text = raw.decode()
    if not text or "/" in text or not text.isprintable():
        raise ValueError("not a name")
    return text


def _decode_path(raw: bytes) -> str:
    text = raw.decode()
    if not text or not text.isprintable():
        raise ValueError("not a path")
    return text


def _encode_onion3(text: str) -> bytes:
    host, _, port = text.partition(":")
    raw = base64.b32decode(host.upper())
    if len(raw) != 35 or not 0 < int(port) < 1 << 16:
        raise ValueError(f"{text!r} is not an onion address of version 3 with a port")
    return raw + int(port).to_bytes(2, "big")


def _decode_onion3(raw: bytes) -> str:
    return f"{base64.b32encode(raw[:35]).decode().lower()}:{int.from_bytes(raw[35:], 'big')}"


def _encode_certhash(text: str) -> bytes:
    raw = bytes(libipld.decode_multibase(text)[1])
    multihash.split(raw)
    return raw


def _decode_certhash(raw: bytes) -> str:
    multihash.split(raw)
    return str(libipld.encode_multibase("u", raw))


_NOTHING = (_NONE, lambda text: b"", lambda raw: "")
_NAME = (_VARIABLE, _encode_name, _decode_name)
_PATH = (_VARIABLE, str.encode, _decode_path, True)

_TABLE = (
    _Protocol(
        4, "ip4", 4, lambda text: ipaddress.IPv4Address(text).packed, lambda raw: str(ipaddress.IPv4Address(raw))
    ),
    _Protocol(6, "tcp", *_number(2)),
    _Protocol(33, "dccp", *_number(2)),
    _Protocol(41, "ip6", 16, _encode_ip6, lambda raw: str(ipaddress.IPv6Address(raw))),
    _Protocol(42, "ip6zone", *_NAME),
    _Protocol(43, "ipcidr", *_number(1)),
    _Protocol(53, "dns", *_NAME),
    _Protocol(54, "dns4", *_NAME),
    _Protocol(55, "dns6", *_NAME),
    _Protocol(56, "dnsaddr", *_NAME),
    _Protocol(132, "sctp", *_number(2)),
    _Protocol(273, "udp", *_number(2)),
    _Protocol(280, "webrtc-direct", *_NOTHING),
    _Protocol(281, "webrtc", *_NOTHING),
    _Protocol(290, "p2p-circuit", *_NOTHING),
    _Protocol(301, "udt", *_NOTHING),
    _Protocol(302, "utp", *_NOTHING),
    _Protocol(400, "unix", *_PATH),
    _Protocol(421, "p2p", _VARIABLE, lambda text: PeerID.parse(text).raw, lambda raw: str(PeerID(raw))),
    _Protocol(443, "https", *_NOTHING),
    _Protocol(445, "onion3", 37, _encode_onion3, _decode_onion3),
    _Protocol(448, "tls", *_NOTHING),
    _Protocol(449, "sni", *_NAME),
    _Protocol(454, "noise", *_NOTHING),
    _Protocol(460, "quic", *_NOTHING),
    _Protocol(461, "quic-v1", *_NOTHING),
    _Protocol(465, "webtransport", *_NOTHING),
    _Protocol(466, "certhash", _VARIABLE, _encode_certhash, _decode_certhash),
    _Protocol(477, "ws", *_NOTHING),
    _Protocol(478, "wss", *_NOTHING),
    _Protocol(480, "http", *_NOTHING),
    _Protocol(481, "http-path", *_NAME),
    _Protocol(777, "memory", *_number(8)),
)
_BY_NAME = {row.name: row for row in _TABLE} | {"ipfs": next(row for row in _TABLE if row.name == "p2p")}
_BY_CODE = {row.code: row for row in _TABLE}


def from_text(text: str) -> Parts:
    """The protocols of multiaddr text with their values, canonical; ``""`` where one has none. ``InvalidAddress``."""
    try:
        return tuple(_read_text(text))
    except (ValueError, OverflowError) as error:
        if isinstance(error, InvalidAddress):
            raise
        raise InvalidAddress(
            f"not a multiaddr: {text[:80]!r} ({error}); it looks like /ip4/192.0.2.1/tcp/4001"
        ) from None


def _read_text(text: str) -> Iterator[tuple[str, str]]:
    words = text.removesuffix("/").split("/")
    if words.pop(0) or not words:
        raise ValueError("it begins with a slash")
    at = 0
    while at < len(words):
        row = _BY_NAME.get(words[at])
        if row is None:
            raise ValueError(f"no protocol is called {words[at][:40]!r}")
        at += 1
        if row.size == _NONE:
            yield row.name, ""
            continue
        if at == len(words):
            raise ValueError(f"{row.name} wants a value")
        value = "/".join(words[at:]) if row.is_path else words[at]
        at = len(words) if row.is_path else at + 1
        yield row.name, row.decode(row.encode(value))


def from_bytes(raw: Buffer) -> Parts:
    """The protocols of a binary multiaddr with their values. ``InvalidAddress``."""
    data = bytes(raw)
    try:
        return tuple(_read_bytes(data))
    except (ValueError, IndexError) as error:
        if isinstance(error, InvalidAddress):
            raise
        raise InvalidAddress(f"not a binary multiaddr: {data[:40].hex()} ({error or type(error).__name__})") from None


def _read_bytes(data: bytes) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(data):
        code, at = varint.decode(data, at)
        row = _BY_CODE.get(code)
        if row is None:
            raise ValueError(f"no protocol has the number {code}")
        size = row.size
        if size == _VARIABLE:
            size, at = varint.decode(data, at)
        if size > len(data) - at:
            raise ValueError(f"{row.name} is cut short")
        yield row.name, row.decode(data[at : at + size])
        at += size


def to_text(parts: Iterable[tuple[str, str]]) -> str:
    """The text of protocols with their values."""
    return "".join(f"/{name}/{value}" if value else f"/{name}" for name, value in parts)


def to_bytes(parts: Iterable[tuple[str, str]]) -> bytes:
    """The binary form of protocols with their values, as ``from_text`` and ``from_bytes`` give them."""
    out = bytearray()
    for name, value in parts:
        row = _BY_NAME[name]
        data = row.encode(value)
        out += varint.encode(row.code)
        if row.size == _VARIABLE:
            out += varint.encode(len(data))
        out += data
    return bytes(out)
