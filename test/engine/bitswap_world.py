"""Names for tests."""

from functools import cache

from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.cid import CID, RAW, PeerID


@cache
def cid_of(number: int) -> CID:
    """A CID that stands for the block of this number."""
    return CID(1, RAW, multihash.wrap(multihash.SHA2_256, number.to_bytes(32, "big")))


@cache
def peer_of(number: int) -> PeerID:
    """The id of the peer of this number."""
    return PeerID(multihash.wrap(multihash.SHA2_256, number.to_bytes(32, "little")))
