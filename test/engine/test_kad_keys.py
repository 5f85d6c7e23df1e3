from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.routing.keys import KEY_BITS, bucket_of, common_prefix, distance, kad_key, preimage

KEYS = st.integers(0, (1 << 256) - 1)


def test_a_key_is_the_sha256_of_the_bytes() -> None:
    assert kad_key(b"/ipns/x") == int(hashlib.sha256(b"/ipns/x").hexdigest(), 16)


@given(KEYS, KEYS, KEYS)
def test_distance_is_a_metric(a: int, b: int, c: int) -> None:
    assert distance(a, b) == distance(b, a)
    assert (distance(a, b) == 0) == (a == b)
    assert distance(a, c) <= distance(a, b) + distance(b, c)


@given(KEYS, st.integers(0, 255))
def test_the_common_prefix_ends_at_the_first_bit_that_differs(a: int, bit: int) -> None:
    other = a ^ (1 << (255 - bit)) ^ random.Random(bit).getrandbits(255 - bit)
    assert common_prefix(a, other) == bit == bucket_of(a, other)
    assert common_prefix(a, a) == KEY_BITS
    assert bucket_of(a, a) == KEY_BITS - 1


@pytest.mark.parametrize("bits", [0, 1, 5, 8])
def test_a_preimage_lies_in_its_region_and_looks_like_a_peer_id(bits: int) -> None:
    rng = random.Random(bits)
    target = rng.getrandbits(256)
    found = preimage(target, bits, rng)
    assert found is not None
    assert common_prefix(kad_key(found), target) >= bits
    assert PeerID(found).raw == found


def test_a_preimage_that_is_too_hard_is_given_up() -> None:
    assert preimage(1 << 255, 200, random.Random(1), tries=50) is None
