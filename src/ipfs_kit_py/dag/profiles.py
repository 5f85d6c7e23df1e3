"""How files and directories are cut into blocks: the CID profiles of IPIP-499, and what a user may change in one.

Two writers that use one profile get one CID for one content. Source: ipfs/specs src/ipips/ipip-0499.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.cid import CID, DAG_PB, RAW, Block
from ipfs_kit_py.core.config import KIB, MAX_BLOCK_BYTES, MAX_FILE_LINKS, MAX_HAMT_FANOUT, MIB
from ipfs_kit_py.core.errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Buffer

BLOCK_OVERHEAD = 256  # bytes of a block that are left for the framing of dag-pb around a chunk; Kubo's number
ESTIMATES = ("block", "links")


class Stat(NamedTuple):
    """What UnixFS 1.5 can keep of a file system's entry: permission bits, and time as (seconds, nanoseconds)."""

    mode: int | None = None
    mtime: tuple[int, int] | None = None


class Built(NamedTuple):
    """A finished DAG: its root, the bytes of content (0 for a directory), the cumulative size that a link to it
    carries, and the blocks that are not handed out yet, children before their parents."""

    cid: CID
    size: int
    tsize: int
    blocks: list[Block]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The choices that decide a CID. Sizes in bytes.

    A directory becomes a HAMT when its estimated size is over ``hamt_threshold`` (0: never). The estimate is the
    exact ``"block"``, or the ``"links"`` alone: the bytes of all names and CIDs. Blocks of up to ``inline_limit`` bytes
    live in their CID (0: none do). Raises ``ConfigError`` for what no reader could follow.
    """

    name: str = "custom"
    cid_version: int = 1
    hash_code: int = multihash.SHA2_256
    raw_leaves: bool = True
    chunk_size: int = 1 * MIB
    max_links: int = 1024
    hamt_threshold: int = 256 * KIB
    hamt_estimate: str = "block"
    hamt_fanout: int = 256
    inline_limit: int = 0

    def __post_init__(self) -> None:
        if self.cid_version not in (0, 1):
            raise ConfigError(f"CID version {self.cid_version} is not known; use 0 or 1")
        if self.cid_version == 0 and self.hash_code != multihash.SHA2_256:
            raise ConfigError(f"a CIDv0 is always sha2-256, not {multihash.name(self.hash_code)}; use CID version 1")
        if self.hash_code == multihash.IDENTITY or self.hash_code not in multihash.NAMES:
            raise ConfigError(f"hash function {multihash.name(self.hash_code)} cannot name blocks of any size")
        _check_range("chunk_size", self.chunk_size, 1, MAX_BLOCK_BYTES - BLOCK_OVERHEAD)
        _check_range("max_links", self.max_links, 2, MAX_FILE_LINKS)
        _check_range("hamt_threshold", self.hamt_threshold, 0, MAX_BLOCK_BYTES - BLOCK_OVERHEAD)
        _check_range("inline_limit", self.inline_limit, 0, multihash.MAX_IDENTITY_BYTES)
        if self.hamt_estimate not in ESTIMATES:
            raise ConfigError(f"hamt_estimate is one of {', '.join(ESTIMATES)}, not {self.hamt_estimate!r}")
        if not valid_fanout(self.hamt_fanout):
            raise ConfigError(f"hamt_fanout is a power of two from 8 to {MAX_HAMT_FANOUT}, not {self.hamt_fanout}")

    def replace(self, **changes: Any) -> Profile:
        """This profile with some fields changed; it loses its name."""
        return replace(self, **{"name": "custom", **changes})

    def block(self, data: Buffer, codec: int = DAG_PB) -> Block:
        """The block of these bytes. Hashes outside of the interpreter lock; safe in any thread."""
        if self.inline_limit and memoryview(data).nbytes <= self.inline_limit:
            return Block(CID(1, codec, multihash.of(data, multihash.IDENTITY)), data)
        version = self.cid_version if codec == DAG_PB else 1
        return Block(CID(version, codec, multihash.of(data, self.hash_code)), data)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} must be {low} to {high}, not {value}")


def valid_fanout(fanout: int) -> bool:
    """Whether a HAMT may have so many children per shard: a power of two and a multiple of 8 (unixfs.md)."""
    return 8 <= fanout <= MAX_HAMT_FANOUT and fanout & (fanout - 1) == 0


def stored(block: Block) -> list[Block]:
    """The block as a list, empty where its CID already holds the bytes."""
    return [] if block.cid.codec in (DAG_PB, RAW) and block.cid.multihash[0] == multihash.IDENTITY else [block]


V1_2025 = Profile(name="unixfs-v1-2025")
V0_2015 = Profile(
    name="unixfs-v0-2015",
    cid_version=0,
    raw_leaves=False,
    chunk_size=256 * KIB,
    max_links=174,
    hamt_estimate="links",
)
PROFILES = {profile.name: profile for profile in (V1_2025, V0_2015)}


def named(name: str) -> Profile:
    """The profile of this name; raises ``ConfigError`` naming those that there are."""
    try:
        return PROFILES[name]
    except KeyError:
        raise ConfigError(f"profile {name!r} is not one of {', '.join(PROFILES)}") from None
