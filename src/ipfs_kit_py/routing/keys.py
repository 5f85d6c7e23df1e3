"""The key space of the DHT: 256-bit numbers, how far they are from each other, and bytes that hash to a wanted region.

Source: libp2p/specs kad-dht/README.md (distance), Maymounkov and Mazières, *Kademlia*, 2002.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Protocol

KEY_BITS = 256
PREIMAGE_TRIES = 4096  # hashes of one call of `preimage`: about 3 ms of the loop

_PEER_ID_HEAD = b"\x12\x20"  # a made-up key has the shape of a peer id (multihash, sha2-256): some peers parse it


class Chance(Protocol):
    """What the engines use of ``random.Random``."""

    def random(self) -> float: ...

    def getrandbits(self, k: int, /) -> int: ...


def kad_key(data: bytes) -> int:
    """Where a multihash, a peer id's bytes or a record's key lies: its SHA-256 as a number of 256 bits."""
    return int.from_bytes(sha256(data).digest(), "big")


def distance(a: int, b: int) -> int:
    """How far two keys are from each other."""
    return a ^ b


def common_prefix(a: int, b: int) -> int:
    """How many leading bits two keys share, 0 to 256."""
    return KEY_BITS - (a ^ b).bit_length()


def bucket_of(me: int, other: int) -> int:
    """The bucket that ``other`` belongs to in the table of ``me``: the bits that they share, 255 at most."""
    return min(common_prefix(me, other), KEY_BITS - 1)


def preimage(target: int, bits: int, rng: Chance, tries: int = PREIMAGE_TRIES) -> bytes | None:
    """Bytes in the shape of a peer id whose key shares at least the first ``bits`` bits with ``target``.

    ``None`` where none was found in so many tries; on average ``2 ** bits`` are needed. A FIND_NODE carries bytes that
    each peer hashes by itself, so a region of the key space can only be asked for by something that hashes into it.
    """
    shift = KEY_BITS - bits
    wanted = target >> shift
    head = _PEER_ID_HEAD + rng.getrandbits(224).to_bytes(28, "big")
    first = (wanted << shift).to_bytes(32, "big")[: bits // 8]
    for number in range(tries):
        data = head + number.to_bytes(4, "big")
        digest = sha256(data).digest()
        if digest.startswith(first) and int.from_bytes(digest, "big") >> shift == wanted:
            return data
    return None
