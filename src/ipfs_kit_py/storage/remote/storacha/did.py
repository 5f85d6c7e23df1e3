"""Decentralized identifiers (DIDs) as UCANs have them, and signatures by the keys behind them.

A ``did:key`` is its key; of other methods only the text is known here, and a table says which key stands behind it.
Only Ed25519 signs and is verified. Source: w3c-ccg did:key; ipld/js-dag-ucan did.js, signature.js.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libipld

from ipfs_kit_py.core import varint
from ipfs_kit_py.core.config import UCAN_DID_CHARS
from ipfs_kit_py.core.errors import BackendError, InvalidBlock, ProtocolViolation
from ipfs_kit_py.crypto.keys import ED25519, PublicKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipfs_kit_py.crypto.keys import PrivateKey

_ED25519_PUB = 0xED
_DID_CORE = 0x0D1D
_KEY_TYPES = frozenset({_ED25519_PUB, 0xE7, 0xEA, 0xEB, 0x1200, 0x1201, 0x1202, 0x1205})  # what did:key may name
EDDSA = 0xD0ED
_NON_STANDARD = 0xD000  # a did:mailto "signs" nothing: an attestation stands for it
ALGORITHMS = {
    EDDSA: "EdDSA", 0xD0E7: "ES256K", 0xD0EA: "BLS12381G1", 0xD0EB: "BLS12381G2", 0xD01200: "ES256",
    0xD01201: "ES384", 0xD01202: "ES512", 0xD01205: "RS256", 0xD191: "EIP191",
}  # fmt: skip
_DID = re.compile(r"did:[a-z0-9]+:[A-Za-z0-9._:%-]+")


class Unauthorized(BackendError):
    """A UCAN or receipt that proves nothing: signed by another, expired, or without a chain to who owns the resource;
    also a service's answer that we have no right to what was asked."""


def did_of(key: PublicKey) -> str:
    """The ``did:key`` of an Ed25519 key."""
    if key.kind != ED25519:
        raise InvalidBlock("only Ed25519 keys have a DID here")
    return "did:key:" + str(libipld.encode_multibase("z", varint.encode(_ED25519_PUB) + key.data))


def check_did(did: object) -> str:
    """``did`` if it is a DID's text; raises ``InvalidBlock``."""
    if not isinstance(did, str) or len(did) > UCAN_DID_CHARS or not _DID.fullmatch(did):
        raise InvalidBlock(f"{did!r:.80} is no DID")
    if did.startswith("did:key:"):
        did_bytes(did)
    return did


def did_bytes(did: str) -> bytes:
    """The binary form: the tagged key of a ``did:key``, the text of others."""
    if did.startswith("did:key:"):
        try:
            raw = bytes(libipld.decode_multibase(did[8:])[1]) if did[8:9] == "z" else b""
        except ValueError:
            raw = b""
        return _checked_key(raw, did)
    return varint.encode(_DID_CORE) + did[4:].encode()


def _checked_key(raw: bytes, shown: object) -> bytes:
    try:
        code, at = varint.decode(raw)
    except (IndexError, ValueError):
        raise InvalidBlock(f"{shown!r:.80} is no DID") from None
    if code not in _KEY_TYPES or (code == _ED25519_PUB and len(raw) != at + 32):
        raise InvalidBlock(f"{shown!r:.80} names no key of a type that is known")
    return raw


def did_text(raw: object) -> str:
    """The text of a DID's binary form; raises ``InvalidBlock``."""
    if not isinstance(raw, bytes) or not 3 <= len(raw) <= UCAN_DID_CHARS:
        raise InvalidBlock("a DID's bytes are missing, too short or too long")
    prefix = varint.encode(_DID_CORE)
    if not raw.startswith(prefix):
        return "did:key:" + str(libipld.encode_multibase("z", _checked_key(raw, raw)))
    try:
        did = "did:" + raw[len(prefix) :].decode()
    except UnicodeDecodeError:
        raise InvalidBlock("a DID's bytes are no UTF-8") from None
    if did.startswith("did:key:"):
        raise InvalidBlock("a did:key in the form of other DIDs")
    return check_did(did)


def verifying_key(did: str, keys: Mapping[str, str]) -> PublicKey:
    """The key behind a DID: its own, or the one that ``keys`` names for it. ``Unauthorized`` where there is none."""
    raw = did_bytes(found) if (found := keys.get(did, did)).startswith("did:key:") else b""
    prefix = varint.encode(_ED25519_PUB)
    if not raw.startswith(prefix):
        raise Unauthorized(f"{did} has no Ed25519 key that is known here")
    try:
        return PublicKey(ED25519, raw[len(prefix) :])
    except ProtocolViolation as error:
        raise Unauthorized(f"{did}: {error}") from None


# --- signatures -------------------------------------------------------------------------------------------------------
def signature_bytes(key: PrivateKey, data: bytes) -> bytes:
    """The signature over ``data`` with its tag and length."""
    raw = key.sign(data)
    return varint.encode(EDDSA) + varint.encode(len(raw)) + raw


def split_signature(raw: object) -> tuple[int, bytes]:
    """The algorithm's code and the signature alone; raises ``InvalidBlock``."""
    if not isinstance(raw, bytes):
        raise InvalidBlock("a signature is no byte string")
    try:
        code, at = varint.decode(raw)
        size, at = varint.decode(raw, at)
    except (IndexError, ValueError):
        raise InvalidBlock("a signature without its tag or length") from None
    if (code != _NON_STANDARD and len(raw) != at + size) or len(raw) < at + size:
        raise InvalidBlock("a signature has another length than it says")
    return code, raw[at : at + size]


def check_signature(code: int, signature: bytes, data: bytes, did: str, keys: Mapping[str, str]) -> None:
    """``Unauthorized`` unless the signature is that DID's over ``data``."""
    if code != EDDSA:
        raise Unauthorized(f"{did} signed with {ALGORITHMS.get(code, hex(code))}, which is not verified here")
    if not verifying_key(did, keys).verify(data, signature):
        raise Unauthorized(f"what is said to be signed by {did} is not")
