"""Content identifiers, versions 0 and 1, and what a peer is called.

Source: github.com/multiformats/cid; peer ids: libp2p/specs peer-ids/peer-ids.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import libipld

from ipfs_kit_py.core import multihash as mhash
from ipfs_kit_py.core import varint
from ipfs_kit_py.core.errors import InvalidAddress, InvalidCID

if TYPE_CHECKING:
    from typing_extensions import Buffer

RAW = 0x55
DAG_PB = 0x70
DAG_CBOR = 0x71
LIBP2P_KEY = 0x72
DAG_JSON = 0x0129
JSON = 0x0200
CBOR = 0x51

CODEC_NAMES: dict[int, str] = {
    RAW: "raw",
    DAG_PB: "dag-pb",
    DAG_CBOR: "dag-cbor",
    DAG_JSON: "dag-json",
    LIBP2P_KEY: "libp2p-key",
    CBOR: "cbor",
    JSON: "json",
}
CODECS: dict[str, int] = {name: code for code, name in CODEC_NAMES.items()}

# The beginnings of CIDs that nearly all links have: version 1 with a digest of 32 bytes by sha2-256
_COMMON = {b"\x01\x55\x12\x20": RAW, b"\x01\x70\x12\x20": DAG_PB, b"\x01\x71\x12\x20": DAG_CBOR}

MAX_CID_BYTES = 168  # binary; the Go implementation's own cap on a CID in a wantlist
MAX_CID_CHARS = 512  # text, in the longest base that we read

_BASE_PREFIX = {"base32": "b", "base36": "k", "base58btc": "z", "base64url": "u", "base16": "f", "base32hex": "v"}


class CID:
    """A content identifier. Immutable, hashable, ordered by its bytes; ``str(cid)`` is the usual text form."""

    __slots__ = ("_hash", "codec", "multihash", "raw", "version")

    raw: bytes
    version: int
    codec: int
    multihash: bytes

    def __init__(self, version: int, codec: int, mh: bytes) -> None:
        if version == 0:
            if codec != DAG_PB or mh[:2] != b"\x12\x20" or len(mh) != 34:
                raise InvalidCID("a CIDv0 is always dag-pb with a sha2-256 digest of 32 bytes")
            raw = mh
        elif version == 1:
            raw = b"\x01" + varint.encode(codec) + mh
        else:
            raise InvalidCID(f"CID version {version} is not known; use 0 or 1")
        self._set(raw, version, codec, mh)

    def _set(self, raw: bytes, version: int, codec: int, mh: bytes) -> None:
        put = object.__setattr__
        put(self, "raw", raw)
        put(self, "version", version)
        put(self, "codec", codec)
        put(self, "multihash", mh)
        put(self, "_hash", hash(raw))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a CID is immutable")

    @classmethod
    def from_bytes(cls, raw: Buffer) -> CID:
        """Parse a binary CID; raises ``InvalidCID`` if it is none or if bytes follow it."""
        data = bytes(raw)
        cid, end = cls.read(data, 0)
        if end != len(data):
            raise InvalidCID(f"{len(data) - end} bytes follow the CID {cid}")
        return cid

    @classmethod
    def read(cls, data: bytes, offset: int = 0) -> tuple[CID, int]:
        """Parse the binary CID at ``offset``; returns it and the offset after it."""
        common = _COMMON.get(data[offset : offset + 4])
        if common is not None and len(data) >= offset + 36:
            self = object.__new__(cls)
            self._set(data[offset : offset + 36], 1, common, data[offset + 2 : offset + 36])
            return self, offset + 36
        if data[offset : offset + 2] == b"\x12\x20":
            mh = data[offset : offset + 34]
            if len(mh) < 34:
                raise InvalidCID("CIDv0 is cut short")
            self = object.__new__(cls)
            self._set(mh, 0, DAG_PB, mh)
            return self, offset + 34
        try:
            version, at = varint.decode(data, offset)
            if version != 1:
                raise InvalidCID(f"CID version {version} is not known")
            codec, start = varint.decode(data, at)
            _code, at = varint.decode(data, start)
            size, at = varint.decode(data, at)
        except (IndexError, ValueError) as error:
            if isinstance(error, InvalidCID):
                raise
            raise InvalidCID(f"not a CID: {data[offset : offset + 40].hex()}: {error}") from None
        end = at + size
        if end > len(data) or end - offset > MAX_CID_BYTES:
            raise InvalidCID(f"CID names a digest of {size} bytes: cut short or over {MAX_CID_BYTES} bytes in all")
        self = object.__new__(cls)
        self._set(data[offset:end], 1, codec, data[start:end])
        return self, end

    @classmethod
    def parse(cls, text: str | CID) -> CID:
        """Parse a CID's text form in any base of multibase; a CID is returned as it is. Raises ``InvalidCID``."""
        if isinstance(text, CID):
            return text
        if not isinstance(text, str):
            raise InvalidCID(f"a CID is text such as 'bafy…' or 'Qm…', not {type(text).__name__}")
        if not 2 <= len(text) <= MAX_CID_CHARS:
            raise InvalidCID(f"not a CID: {text[:60]!r}")
        try:
            if len(text) == 46 and text.startswith("Qm"):
                raw = libipld.decode_multibase("z" + text)[1]
            else:
                raw = libipld.decode_multibase(text)[1]
                if raw[:1] == b"\x12":
                    raise InvalidCID(f"{text!r}: a CIDv0 has no multibase prefix")
        except ValueError as error:
            if isinstance(error, InvalidCID):
                raise
            raise InvalidCID(f"not a CID: {text[:60]!r} ({error})") from None
        return cls.from_bytes(raw)

    @classmethod
    def of(cls, data: Buffer, codec: int = RAW, *, version: int = 1, hash_code: int = mhash.SHA2_256) -> CID:
        """The CID of a block's bytes."""
        return cls(version, codec, mhash.of(data, hash_code))

    @property
    def hash_code(self) -> int:
        """The multicodec number of the hash function."""
        return mhash.split(self.multihash)[0]

    @property
    def digest(self) -> bytes:
        """The digest alone."""
        return mhash.split(self.multihash)[1]

    @property
    def prefix(self) -> bytes:
        """Version, codec, hash function and digest length as varints: what bitswap 1.1 sends beside a block."""
        code, found = mhash.split(self.multihash)
        parts = (self.version, self.codec, code, len(found))
        return b"".join(map(varint.encode, parts))

    def check_allowed(self) -> CID:
        """This CID; raises ``InvalidCID`` unless its hash function and digest length can be trusted."""
        code, found = mhash.split(self.multihash)
        try:
            mhash.check_allowed(code, len(found))
        except InvalidCID as error:
            raise InvalidCID(f"{self}: {error}") from None
        return self

    def verify(self, data: Buffer) -> bool:
        """Whether ``data`` is the block that this CID names."""
        return mhash.verify(self.multihash, data)

    def to_v1(self) -> CID:
        """The same content as a CIDv1."""
        return self if self.version == 1 else CID(1, self.codec, self.multihash)

    def encode(self, base: str = "base32") -> str:
        """The text in a base by its multibase name; a CIDv0 is always base58btc without a prefix."""
        if self.version == 0:
            return str(libipld.encode_multibase("z", self.raw))[1:]
        if base not in _BASE_PREFIX:
            raise InvalidCID(f"base {base!r} is not one of {', '.join(_BASE_PREFIX)}")
        return str(libipld.encode_multibase(_BASE_PREFIX[base], self.raw))

    def __str__(self) -> str:
        return self.encode()

    def __repr__(self) -> str:
        return f"CID({self.encode()!r})"

    def __hash__(self) -> int:
        return self._hash  # type: ignore[attr-defined, no-any-return]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CID) and self.raw == other.raw

    def __lt__(self, other: CID) -> bool:
        return self.raw < other.raw

    def __reduce__(self) -> tuple[object, ...]:
        return (CID, (self.version, self.codec, self.multihash))


class Block(NamedTuple):
    """A CID and the bytes that it names."""

    cid: CID
    data: Buffer


class PeerID:
    """The multihash of a peer's public key. ``str(peer_id)`` is the base58 text; ``raw`` the bytes."""

    __slots__ = ("_text", "raw")

    def __init__(self, raw: bytes) -> None:
        code, found = mhash.split(raw)
        if (code == mhash.SHA2_256 and len(found) == 32) or (code == mhash.IDENTITY and len(found) <= 42):
            self.raw = raw
            self._text = str(libipld.encode_multibase("z", raw))[1:]
            return
        raise InvalidAddress(f"not a peer id: {raw[:48].hex()}")

    @classmethod
    def parse(cls, text: str | PeerID) -> PeerID:
        """Parse either text form: base58 (``Qm…``, ``12D3…``) or a CIDv1 with the codec libp2p-key."""
        if isinstance(text, PeerID):
            return text
        try:
            if text.startswith(("1", "Qm")):
                return cls(libipld.decode_multibase("z" + text)[1])
            cid = CID.parse(text)
            if cid.codec != LIBP2P_KEY:
                raise InvalidAddress(f"not a peer id: {text!r} is a CID of {CODEC_NAMES.get(cid.codec, cid.codec)}")
            return cls(cid.multihash)
        except (ValueError, AttributeError) as error:
            if isinstance(error, InvalidAddress):
                raise
            raise InvalidAddress(f"not a peer id: {text!r}; it looks like 12D3KooW… or Qm…") from None

    def to_cid(self) -> CID:
        """The peer id as a CID (what ``/ipns/k51…`` names)."""
        return CID(1, LIBP2P_KEY, self.raw)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"PeerID({self._text!r})"

    def __hash__(self) -> int:
        return hash(self.raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PeerID) and self.raw == other.raw

    def __lt__(self, other: PeerID) -> bool:
        return self.raw < other.raw
