"""What lacks of a DAG that is put: in any order, through CIDs that carry their block, nothing asked for twice."""

from __future__ import annotations

import random

import pytest

from ipfs_kit_py.core.cid import CID, DAG_CBOR
from ipfs_kit_py.core.errors import InvalidBlock
from ipfs_kit_py.dag import dag_cbor
from ipfs_kit_py.storage.remote.lacking import Lacking
from test.remote.dags import block, tree


@pytest.mark.parametrize("seed", range(5))
def test_a_whole_dag_lacks_nothing_and_each_block_is_missed(seed: int) -> None:
    blocks = tree(23, 100)
    shuffled = random.Random(seed).sample(blocks, len(blocks))
    lacking = Lacking(blocks[0].cid)
    for at, one in enumerate(shuffled):
        with pytest.raises(InvalidBlock):
            lacking.check()
        lacking.take(*one)
        lacking.take(*shuffled[at // 2])
    lacking.check()
    for gone in blocks:
        lacking = Lacking(blocks[0].cid)
        for one in shuffled:
            if one is not gone:
                lacking.take(*one)
        with pytest.raises(InvalidBlock, match=str(gone.cid)):
            lacking.check()


def test_cids_that_carry_their_block_are_followed_and_never_lack() -> None:
    leaf = block(b"below")
    inside = CID.of(dag_cbor.encode([leaf.cid]), DAG_CBOR, hash_code=0)
    root = block(dag_cbor.encode([inside, inside]), DAG_CBOR)
    lacking = Lacking(root.cid)
    lacking.take(*root)
    with pytest.raises(InvalidBlock, match=str(leaf.cid)):
        lacking.check()
    lacking.take(*leaf)
    lacking.check()
    Lacking(CID.of(b"nothing below", hash_code=0)).check()
