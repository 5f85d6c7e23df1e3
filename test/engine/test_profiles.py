"""The profiles of IPIP-499 and what can be changed in one."""

from __future__ import annotations

from typing import Any

import pytest

from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.cid import CID, DAG_PB, RAW
from ipfs_kit_py.core.config import NodeConfig
from ipfs_kit_py.core.errors import ConfigError
from ipfs_kit_py.dag.profiles import PROFILES, V0_2015, V1_2025, Profile, named, stored


def test_the_two_profiles_are_those_of_the_specification() -> None:
    assert (V1_2025.cid_version, V1_2025.raw_leaves, V1_2025.chunk_size, V1_2025.max_links) == (1, True, 1 << 20, 1024)
    assert (V0_2015.cid_version, V0_2015.raw_leaves, V0_2015.chunk_size, V0_2015.max_links) == (0, False, 1 << 18, 174)
    assert (V1_2025.hamt_estimate, V0_2015.hamt_estimate) == ("block", "links")
    for profile in PROFILES.values():
        assert (profile.hamt_threshold, profile.hamt_fanout, profile.inline_limit) == (1 << 18, 256, 0)
        assert profile.hash_code == multihash.SHA2_256


def test_profiles_are_found_by_name_and_the_default_is_one() -> None:
    assert named("unixfs-v0-2015") is V0_2015
    assert named(NodeConfig().profile) is V1_2025
    with pytest.raises(ConfigError, match="unixfs-v1-2025, unixfs-v0-2015"):
        named("test-cid-v9")


@pytest.mark.parametrize(
    "changes",
    [
        {"cid_version": 2},
        {"cid_version": 0, "hash_code": 0xB220},
        {"hash_code": multihash.IDENTITY},
        {"hash_code": 0x99},
        {"chunk_size": 0},
        {"chunk_size": (2 << 20) - 255},
        {"max_links": 1},
        {"max_links": 16_385},
        {"hamt_threshold": -1},
        {"hamt_estimate": "guess"},
        {"hamt_fanout": 4},
        {"hamt_fanout": 100},
        {"hamt_fanout": 2048},
        {"inline_limit": 129},
    ],
)
def test_what_no_reader_could_follow_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Profile(**changes)


def test_a_changed_profile_loses_its_name() -> None:
    other = V1_2025.replace(chunk_size=4)
    assert (other.name, other.chunk_size, other.max_links) == ("custom", 4, 1024)


def test_blocks_get_the_cid_of_the_profile() -> None:
    assert V0_2015.block(b"x", DAG_PB).cid == CID.of(b"x", DAG_PB, version=0)
    assert V0_2015.block(b"x", RAW).cid == CID.of(b"x")
    blake = V1_2025.replace(hash_code=0x1E)
    assert blake.block(b"x", RAW).cid == CID.of(b"x", RAW, hash_code=0x1E)


def test_small_blocks_live_in_their_cid_when_asked() -> None:
    inline = V0_2015.replace(inline_limit=3)
    block = inline.block(b"abc")
    assert (block.cid.version, block.cid.hash_code, block.cid.digest) == (1, multihash.IDENTITY, b"abc")
    assert stored(block) == []
    larger = inline.block(b"abcd")
    assert larger.cid.version == 0
    assert stored(larger) == [larger]
