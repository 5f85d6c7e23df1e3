"""Multihashes: which hash functions a block may use, and the check of a block against its multihash.

The allowed functions are those that the Go implementation's verifier lets in. Digests shorter than 20 bytes are refused
(a short digest is easily collided), identity digests over 128 bytes too (IPIP-512).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import blake3

from ipfs_kit_py.core import varint
from ipfs_kit_py.core.errors import InvalidCID

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

IDENTITY = 0x00
SHA1 = 0x11
SHA2_256 = 0x12
SHA2_512 = 0x13
SHAKE_256 = 0x19
BLAKE3 = 0x1E
DBL_SHA2_256 = 0x56

MIN_DIGEST_BYTES = 20
MAX_IDENTITY_BYTES = 128
MAX_DIGEST_BYTES = 128  # the longest that any allowed function makes here (blake3, an extendable one)


def _keccak(bits: int) -> Callable[[Buffer, int], bytes]:
    def digest(data: Buffer, _size: int) -> bytes:
        from Crypto.Hash import keccak  # 20 ms, for a function that few blocks have

        return keccak.new(digest_bits=bits, data=bytes(data)).digest()

    return digest


def _hashlib(name: str) -> Callable[[Buffer, int], bytes]:
    return lambda data, _size: hashlib.new(name, data).digest()


def _blake2b(size: int) -> Callable[[Buffer, int], bytes]:
    return lambda data, _size: hashlib.blake2b(data, digest_size=size).digest()


def _blake2s(size: int) -> Callable[[Buffer, int], bytes]:
    return lambda data, _size: hashlib.blake2s(data, digest_size=size).digest()


# code -> (name, digest size in bytes or None where the caller names it, function of (data, size))
_FUNCTIONS: dict[int, tuple[str, int | None, Callable[[Buffer, int], bytes]]] = {
    SHA1: ("sha1", 20, lambda data, _size: hashlib.sha1(data, usedforsecurity=False).digest()),
    SHA2_256: ("sha2-256", 32, lambda data, _size: hashlib.sha256(data).digest()),
    SHA2_512: ("sha2-512", 64, lambda data, _size: hashlib.sha512(data).digest()),
    0x14: ("sha3-512", 64, _hashlib("sha3_512")),
    0x15: ("sha3-384", 48, _hashlib("sha3_384")),
    0x16: ("sha3-256", 32, _hashlib("sha3_256")),
    0x17: ("sha3-224", 28, _hashlib("sha3_224")),
    SHAKE_256: ("shake-256", None, lambda data, size: hashlib.shake_256(data).digest(size)),
    0x1A: ("keccak-224", 28, _keccak(224)),
    0x1B: ("keccak-256", 32, _keccak(256)),
    0x1C: ("keccak-384", 48, _keccak(384)),
    0x1D: ("keccak-512", 64, _keccak(512)),
    BLAKE3: ("blake3", None, lambda data, size: blake3.blake3(data).digest(length=size)),
    DBL_SHA2_256: ("dbl-sha2-256", 32, lambda data, _size: hashlib.sha256(hashlib.sha256(data).digest()).digest()),
    **{0xB200 + size: (f"blake2b-{size * 8}", size, _blake2b(size)) for size in range(20, 65)},
    **{0xB240 + size: (f"blake2s-{size * 8}", size, _blake2s(size)) for size in range(20, 33)},
}

NAMES: dict[int, str] = {IDENTITY: "identity", **{code: row[0] for code, row in _FUNCTIONS.items()}}
CODES: dict[str, int] = {name: code for code, name in NAMES.items()}


def name(code: int) -> str:
    """The multicodec name of a hash function, or its number where it is not one of the allowed."""
    return NAMES.get(code, hex(code))


def split(multihash: bytes) -> tuple[int, bytes]:
    """The function's code and the digest of a multihash; raises ``InvalidCID`` where it is cut short or too long."""
    try:
        code, at = varint.decode(multihash)
        size, at = varint.decode(multihash, at)
    except (IndexError, ValueError) as error:
        raise InvalidCID(f"not a multihash: {multihash[:40].hex()}: {error}") from None
    if len(multihash) - at != size:
        raise InvalidCID(f"multihash names {size} digest bytes and has {len(multihash) - at}: {multihash[:40].hex()}")
    return code, multihash[at:]


def wrap(code: int, digest: bytes) -> bytes:
    """The multihash of a digest."""
    return varint.encode(code) + varint.encode(len(digest)) + digest


def check_allowed(code: int, size: int) -> None:
    """Raise ``InvalidCID`` unless a digest of ``size`` bytes by the function ``code`` is safe to trust."""
    if code == IDENTITY:
        if size > MAX_IDENTITY_BYTES:
            raise InvalidCID(f"identity CIDs carry at most {MAX_IDENTITY_BYTES} bytes, this one has {size}")
        return
    row = _FUNCTIONS.get(code)
    if row is None:
        raise InvalidCID(f"hash function {hex(code)} is not one that this node can verify")
    if row[1] is not None and row[1] != size:
        raise InvalidCID(f"{row[0]} makes digests of {row[1]} bytes, this one has {size}")
    if not MIN_DIGEST_BYTES <= size <= MAX_DIGEST_BYTES:
        raise InvalidCID(f"a {row[0]} digest must have {MIN_DIGEST_BYTES} to {MAX_DIGEST_BYTES} bytes, not {size}")


def digest(code: int, data: Buffer, size: int | None = None) -> bytes:
    """The digest of ``data``; ``size`` in bytes for the extendable functions (default 32, shake-256 64)."""
    if code == IDENTITY:
        return bytes(data)
    row = _FUNCTIONS.get(code)
    if row is None:
        raise InvalidCID(f"hash function {hex(code)} is not one that this node can compute")
    return row[2](data, row[1] or size or (64 if code == SHAKE_256 else 32))


def of(data: Buffer, code: int = SHA2_256, size: int | None = None) -> bytes:
    """The multihash of ``data``."""
    return wrap(code, digest(code, data, size))


def verify(multihash: bytes, data: Buffer) -> bool:
    """Whether ``data`` has this multihash. Raises ``InvalidCID`` where the function is not allowed."""
    if multihash[:2] == b"\x12\x20" and len(multihash) == 34:
        return hashlib.sha256(data).digest() == multihash[2:]
    code, expected = split(multihash)
    check_allowed(code, len(expected))
    return digest(code, data, len(expected)) == expected
