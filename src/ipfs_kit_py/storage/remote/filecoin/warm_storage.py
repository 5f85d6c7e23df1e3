"""What a client of Filecoin's warm storage service signs: the ``extraData`` of calls to a PDP server.

Each is an EIP-712 typed message of the FilecoinWarmStorageService contract, signed with secp256k1 (deterministic, RFC
6979, low ``s``) and put into the ABI encoding that the contract decodes. The private key is used by ``cryptography``
alone; the arithmetic written out here only finds the parity of a signature's point, from public numbers. Source:
EIP-712; EIP-2; the Solidity ABI specification; FilOzone/filecoin-services and FilOzone/synapse-sdk typed-data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ipfs_kit_py.core.cid import CID

_KECCAK_256 = 0x1B
_P = 2**256 - 2**32 - 977  # of the field of secp256k1
_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)
_Point = tuple[int, int] | None


def keccak(data: bytes) -> bytes:
    """Keccak-256, as Ethereum has it."""
    return multihash.digest(_KECCAK_256, data)


# --- ABI --------------------------------------------------------------------------------------------------------------
class _Part(NamedTuple):
    """An encoded value; one that is ``dynamic`` stands behind the heads, which hold its offset."""

    dynamic: bool
    data: bytes


def _number(value: int) -> _Part:
    if not 0 <= value < 1 << 256:
        raise ConfigError("a number on the chain has 0 to 256 bits")
    return _Part(False, value.to_bytes(32, "big"))


def address_bytes(text: str) -> bytes:
    """The 20 bytes of an Ethereum address; ``ConfigError`` where it is none."""
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != 20:
        raise ConfigError(f"not an Ethereum address: {text[:60]!r}; it looks like 0x and 40 hexadecimal digits")
    return raw


def _address(text: str) -> _Part:
    return _Part(False, address_bytes(text).rjust(32, b"\0"))


def _bytes(value: bytes) -> _Part:
    padded = value.ljust(-(-len(value) // 32) * 32, b"\0")
    return _Part(True, _number(len(value)).data + padded)


def _list(parts: Sequence[_Part]) -> _Part:
    return _Part(True, _number(len(parts)).data + _tuple(parts))


def _strings(values: Sequence[str]) -> _Part:
    return _list([_bytes(value.encode()) for value in values])


def _tuple(parts: Sequence[_Part]) -> bytes:
    at = sum(32 if part.dynamic else len(part.data) for part in parts)
    heads, tails = b"", b""
    for part in parts:
        if part.dynamic:
            heads += _number(at + len(tails)).data
            tails += part.data
        else:
            heads += part.data
    return heads + tails


# --- EIP-712 ----------------------------------------------------------------------------------------------------------
_ENTRY = "MetadataEntry(string key,string value)"
_METADATA = "PieceMetadata(uint256 pieceIndex,MetadataEntry[] metadata)"
_CREATE = "CreateDataSet(uint256 clientDataSetId,address payee,MetadataEntry[] metadata)" + _ENTRY
_ADD = (
    "AddPieces(uint256 clientDataSetId,uint256 nonce,Cid[] pieceData,PieceMetadata[] pieceMetadata)"
    "Cid(bytes data)" + _ENTRY + _METADATA
)
_REMOVE = "SchedulePieceRemovals(uint256 clientDataSetId,uint256[] pieceIds)"
_TERMINATE = "TerminateService(uint256 dataSetId)"
_DOMAIN = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"


def _struct(kind: str, *fields: bytes) -> bytes:
    return keccak(keccak(kind.encode()) + b"".join(fields))


def _entries(metadata: Mapping[str, str]) -> bytes:
    rows = [_struct(_ENTRY, keccak(key.encode()), keccak(value.encode())) for key, value in metadata.items()]
    return keccak(b"".join(rows))


# --- secp256k1 --------------------------------------------------------------------------------------------------------
def _plus(one: _Point, other: _Point) -> _Point:
    if one is None or other is None:
        return one or other
    if one[0] == other[0]:
        if (one[1] + other[1]) % _P == 0:
            return None
        slope = 3 * one[0] * one[0] * pow(2 * one[1], -1, _P) % _P
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, _P) % _P
    x = (slope * slope - one[0] - other[0]) % _P
    return x, (slope * (one[0] - x) - one[1]) % _P


def _times(point: _Point, factor: int) -> _Point:
    found: _Point = None
    while factor:
        if factor & 1:
            found = _plus(found, point)
        point = _plus(point, point)
        factor >>= 1
    return found


class ChainKey:
    """A secp256k1 private key of 32 bytes, or its 64 hexadecimal digits. ``ConfigError`` where it is none."""

    def __init__(self, secret: bytes | str) -> None:
        try:
            raw = bytes.fromhex(secret.removeprefix("0x")) if isinstance(secret, str) else secret
            if len(raw) != 32:
                raise ValueError
            self._key = ec.derive_private_key(int.from_bytes(raw, "big"), ec.SECP256K1())
        except ValueError:
            raise ConfigError(
                "a chain key is 32 bytes, or 64 hexadecimal digits, and no larger than the curve"
            ) from None
        numbers = self._key.public_key().public_numbers()
        self._public = (numbers.x, numbers.y)
        found = keccak(numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big"))
        self.address = f"0x{found[12:].hex()}"

    def __repr__(self) -> str:
        return f"<ChainKey of {self.address}>"

    def sign(self, digest: bytes) -> bytes:
        """The 65 bytes ``r s v`` over a digest of 32 bytes, ``v`` 27 or 28."""
        algorithm = ec.ECDSA(Prehashed(SHA256()), deterministic_signing=True)
        r, s = decode_dss_signature(self._key.sign(digest, algorithm))
        s = min(s, _N - s)
        inverse = pow(s, -1, _N)
        point = _plus(
            _times(_G, int.from_bytes(digest, "big") * inverse % _N), _times(self._public, r * inverse % _N)
        )  # what a verifier computes: the signature's point
        assert point is not None
        assert point[0] % _N == r
        return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes((27 + (point[1] & 1),))


def signer_of(digest: bytes, signature: bytes) -> str:
    """The address of the key that made a signature, as the contract finds it. ``ValueError`` where there is none."""
    r, s, v = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"), signature[64]
    if len(signature) != 65 or v not in (27, 28) or not 0 < r < _N or not 0 < s <= _N // 2:
        raise ValueError("not a signature of this form")
    y = pow(r**3 + 7, (_P + 1) // 4, _P)
    if (y * y - r**3 - 7) % _P:
        raise ValueError("no point has this coordinate")
    point = (r, y if y & 1 == v - 27 else _P - y)
    inverse = pow(r, -1, _N)
    public = _plus(_times(point, s * inverse % _N), _times(_G, -int.from_bytes(digest, "big") * inverse % _N))
    if public is None:
        raise ValueError("no key made this signature")
    return f"0x{keccak(public[0].to_bytes(32, 'big') + public[1].to_bytes(32, 'big'))[12:].hex()}"


@dataclass(frozen=True)
class WarmStorage:
    """Signs for one FilecoinWarmStorageService contract: ``contract`` is its address, ``chain`` the chain's number
    (314 main, 314159 calibration). ``payer`` is who pays, by default the key's own address."""

    key: ChainKey
    contract: str
    chain: int
    payer: str = ""

    def _sign(self, message: bytes) -> bytes:
        return self.key.sign(self.digest(message))

    def digest(self, message: bytes) -> bytes:
        """What is signed for a message's struct hash."""
        name, version = keccak(b"FilecoinWarmStorageService"), keccak(b"1")
        domain = _struct(_DOMAIN, name, version, _number(self.chain).data, _address(self.contract).data)
        return keccak(b"\x19\x01" + domain + message)

    def create(self, client_data_set: int, payee: str, metadata: Mapping[str, str]) -> bytes:
        """For a new data set. ``client_data_set`` is a number of ours, new for each; ``payee`` the provider."""
        message = _struct(_CREATE, _number(client_data_set).data, _address(payee).data, _entries(metadata))
        return _tuple(
            [
                _address(self.payer or self.key.address),
                _number(client_data_set),
                _strings(list(metadata)),
                _strings(list(metadata.values())),
                _bytes(self._sign(message)),
            ]
        )

    def add(self, client_data_set: int, nonce: int, pieces: Sequence[tuple[CID, Mapping[str, str]]]) -> bytes:
        """For pieces, by their CIDs of version 2 with metadata, that are added to a data set."""
        data = keccak(b"".join(_struct("Cid(bytes data)", keccak(cid.raw)) for cid, _metadata in pieces))
        rows = [
            _struct(_METADATA + _ENTRY, _number(index).data, _entries(metadata))
            for index, (_cid, metadata) in enumerate(pieces)
        ]
        message = _struct(
            _ADD, _number(client_data_set).data, _number(nonce).data, data, keccak(b"".join(rows))
        )  # fmt: skip
        return _tuple(
            [
                _number(nonce),
                _list([_strings(list(metadata)) for _cid, metadata in pieces]),
                _list([_strings(list(metadata.values())) for _cid, metadata in pieces]),
                _bytes(self._sign(message)),
            ]
        )

    def create_and_add(self, create: bytes, add: bytes) -> bytes:
        """For both in one call."""
        return _tuple([_bytes(create), _bytes(add)])

    def remove(self, client_data_set: int, pieces: Sequence[int]) -> bytes:
        """For pieces, by their numbers in a data set, that are to go."""
        numbers = keccak(b"".join(_number(piece).data for piece in pieces))
        return _tuple([_bytes(self._sign(_struct(_REMOVE, _number(client_data_set).data, numbers)))])

    def terminate(self, data_set: int) -> bytes:
        """For the end of a data set."""
        return _tuple([_bytes(self._sign(_struct(_TERMINATE, _number(data_set).data)))])
