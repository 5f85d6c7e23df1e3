"""Identity keys: Ed25519 as our own, and what else peers have: secp256k1, ECDSA, RSA.

Source: libp2p/specs peer-ids/peer-ids.md. The generated protobuf code beside this module is made from the ``.proto``
files; the first lines of each say how.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from google.protobuf.message import DecodeError

from ipfs_kit_py.core import multihash as mhash
from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import MAX_KEY_BYTES, RSA_MAX_BITS, RSA_MIN_BITS
from ipfs_kit_py.core.errors import ConfigError, ProtocolViolation
from ipfs_kit_py.crypto import keys_pb2

if TYPE_CHECKING:
    from typing_extensions import Buffer

RSA, ED25519, SECP256K1, ECDSA = 0, 1, 2, 3
NAMES = {RSA: "RSA", ED25519: "Ed25519", SECP256K1: "secp256k1", ECDSA: "ECDSA"}

_INLINE_BYTES = 42  # a key encoded in at most so many bytes is its own peer id
_RSA_MAX_EXPONENT = 1 << 32  # a larger one makes a check as slow as a signature
_SECP256K1_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)

_AnyPublic = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
_AnyPrivate = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

# The y coordinates of Ed25519's points of small order: under such a key one signature fits many messages.
_P = 2**255 - 19
_Y8 = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
_SMALL_ORDER_Y = frozenset((0, 1, _P - 1, _Y8, _P - _Y8))


def _frame(kind: int, data: bytes) -> bytes:
    """The protobuf of both messages, always with both fields (RSA is number 0, and proto3 would leave it out)."""
    message = keys_pb2.PublicKey(Type=keys_pb2.KeyType.ValueType(kind), Data=data)
    return message.SerializeToString(deterministic=True)


class PublicKey:
    """A peer's public key. Immutable; equal by its encoding."""

    __slots__ = ("_key", "data", "kind")

    def __init__(self, kind: int, data: bytes) -> None:
        """``data`` is the ``Data`` field of the key's protobuf. ``ProtocolViolation`` where it is no usable key."""
        try:
            self._key = _load_public(kind, data)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ProtocolViolation(f"not a usable {NAMES.get(kind, kind)} public key: {error}") from None
        self.kind = kind
        self.data = _dump_public(kind, self._key)

    @classmethod
    def decode(cls, raw: Buffer) -> PublicKey:
        """Parse the protobuf of a public key; ``ProtocolViolation`` where it is none or of an unknown type."""
        raw = bytes(raw)
        if len(raw) > MAX_KEY_BYTES:
            raise ProtocolViolation(f"a public key of {len(raw)} bytes; at most {MAX_KEY_BYTES} are read")
        try:
            message = keys_pb2.PublicKey.FromString(raw)
        except DecodeError:
            raise ProtocolViolation("not a public key: malformed, or of a type that is not known") from None
        return cls(message.Type, message.Data)

    def encode(self) -> bytes:
        """The canonical protobuf."""
        return _frame(self.kind, self.data)

    def peer_id(self) -> PeerID:
        """The peer id that follows from this key."""
        raw = self.encode()
        if len(raw) <= _INLINE_BYTES:
            return PeerID(mhash.wrap(mhash.IDENTITY, raw))
        return PeerID(mhash.wrap(mhash.SHA2_256, hashlib.sha256(raw).digest()))

    def verify(self, data: Buffer, signature: bytes) -> bool:
        """Whether ``signature`` is this key's over ``data``."""
        key = self._key
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, bytes(data))
            elif isinstance(key, rsa.RSAPublicKey):
                key.verify(signature, bytes(data), padding.PKCS1v15(), hashes.SHA256())
            else:
                key.verify(signature, bytes(data), ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and (self.kind, self.data) == (other.kind, other.data)

    def __hash__(self) -> int:
        return hash((self.kind, self.data))

    def __repr__(self) -> str:
        return f"<PublicKey {NAMES[self.kind]} of {self.peer_id()}>"


class PrivateKey:
    """A key pair. ``repr`` and errors never show the secret."""

    __slots__ = ("_key", "kind", "public_key")

    def __init__(self, kind: int, key: _AnyPrivate) -> None:
        self.kind = kind
        self._key = key
        self.public_key = PublicKey(kind, _dump_public(kind, key.public_key()))

    @classmethod
    def generate(cls) -> PrivateKey:
        """A new Ed25519 key."""
        return cls(ED25519, ed25519.Ed25519PrivateKey.generate())

    @classmethod
    def decode(cls, raw: Buffer) -> PrivateKey:
        """Parse the protobuf of a private key; ``ConfigError`` where it is none."""
        try:
            message = keys_pb2.PrivateKey.FromString(bytes(raw))
            return cls(message.Type, _load_private(message.Type, message.Data))
        except (DecodeError, ValueError, UnsupportedAlgorithm, ProtocolViolation):
            raise ConfigError("not a private key in libp2p's encoding") from None

    def encode(self) -> bytes:
        """The protobuf, secret included."""
        return _frame(self.kind, _dump_private(self.kind, self._key))

    @classmethod
    def decode_pem(cls, raw: Buffer) -> PrivateKey:
        """Parse an unencrypted PKCS #8 key in PEM, as OpenSSL writes it; ``ConfigError`` where it is none."""
        text = bytes(raw).strip()
        if not text.startswith(b"-----BEGIN PRIVATE KEY-----"):
            raise ConfigError("not an unencrypted private key in PEM (PKCS #8)")
        try:
            key = serialization.load_pem_private_key(text, password=None)
            if isinstance(key, ed25519.Ed25519PrivateKey):
                return cls(ED25519, key)
            if isinstance(key, rsa.RSAPrivateKey):
                return cls(RSA, key)
            if isinstance(key, ec.EllipticCurvePrivateKey):
                return cls(SECP256K1 if isinstance(key.curve, ec.SECP256K1) else ECDSA, key)
        except (ValueError, TypeError, UnsupportedAlgorithm, ProtocolViolation):
            pass
        raise ConfigError("not a private key in PEM (PKCS #8) of a type that can be used") from None

    def encode_pem(self) -> bytes:
        """PKCS #8 in PEM, secret included and unencrypted."""
        form = serialization.PrivateFormat.PKCS8
        return self._key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())

    def peer_id(self) -> PeerID:
        """The peer id of the public half."""
        return self.public_key.peer_id()

    def sign(self, data: Buffer) -> bytes:
        """The signature over ``data`` by the scheme of the key's type."""
        key = self._key
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return key.sign(bytes(data))
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(bytes(data), padding.PKCS1v15(), hashes.SHA256())
        signature = key.sign(bytes(data), ec.ECDSA(hashes.SHA256()))
        return _low_s(signature) if self.kind == SECP256K1 else signature

    def __repr__(self) -> str:
        return f"<PrivateKey {NAMES[self.kind]} of {self.peer_id()}>"


def _low_s(signature: bytes) -> bytes:
    """The form of a secp256k1 signature that Bitcoin's rules ask for (BIP 62)."""
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, min(s, _SECP256K1_ORDER - s))


def _load_public(kind: int, data: bytes) -> _AnyPublic:
    if kind == ED25519:
        if len(data) == 32 and (int.from_bytes(data, "little") & ((1 << 255) - 1)) % _P in _SMALL_ORDER_Y:
            raise ValueError("a point of small order")
        return ed25519.Ed25519PublicKey.from_public_bytes(data)
    if kind == SECP256K1:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), data)
    if kind not in (RSA, ECDSA):
        raise ValueError("the type is not known")
    key = serialization.load_der_public_key(data)
    if kind == RSA and isinstance(key, rsa.RSAPublicKey):
        if not RSA_MIN_BITS <= key.key_size <= RSA_MAX_BITS:
            raise ValueError(f"{key.key_size} bits are outside {RSA_MIN_BITS} to {RSA_MAX_BITS}")
        if key.public_numbers().e >= _RSA_MAX_EXPONENT:
            raise ValueError("its exponent is too large")
        return key
    if kind == ECDSA and isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    raise ValueError("the key is of another type or curve than it says")


def _dump_public(kind: int, key: _AnyPublic) -> bytes:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key.public_bytes_raw()
    if kind == SECP256K1:
        return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _load_private(kind: int, data: bytes) -> _AnyPrivate:
    if kind == ED25519:
        return _load_ed25519(data)
    if kind == SECP256K1:
        if len(data) != 32:
            raise ValueError("a secp256k1 key has 32 bytes")
        return ec.derive_private_key(int.from_bytes(data, "big"), ec.SECP256K1())
    key = serialization.load_der_private_key(data, password=None)
    if (kind == RSA and isinstance(key, rsa.RSAPrivateKey)) or (
        kind == ECDSA and isinstance(key, ec.EllipticCurvePrivateKey)
    ):
        return key
    raise ValueError("the key is of another type than it says")


def _load_ed25519(data: bytes) -> ed25519.Ed25519PrivateKey:
    """The secret followed by the public key, once, or in old files twice."""
    secret, public = data[:32], data[32:64]
    if len(data) not in (64, 96) or data[64:] not in (b"", public):
        raise ValueError("an Ed25519 key has 64 bytes")
    key = ed25519.Ed25519PrivateKey.from_private_bytes(secret)
    if key.public_key().public_bytes_raw() != public:
        raise ValueError("the halves of the key do not belong together")
    return key


def _dump_private(kind: int, key: _AnyPrivate) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.private_bytes_raw() + key.public_key().public_bytes_raw()
    if kind == SECP256K1 and isinstance(key, ec.EllipticCurvePrivateKey):
        return key.private_numbers().private_value.to_bytes(32, "big")
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
