"""Several stores as one to serve from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import CID, Block
from ipfs_kit_py.storage.disk import DiskStore
from ipfs_kit_py.storage.joined import JoinedStores
from ipfs_kit_py.storage.memory import MemoryStore

BLOCKS = [Block(CID.of(bytes([at]) * (at + 1)), bytes([at]) * (at + 1)) for at in range(12)]


@given(
    held=st.lists(st.sets(st.integers(0, 11)), max_size=3),
    asked=st.lists(st.integers(0, 11), max_size=20),
)
def test_each_block_comes_from_a_store_that_has_it(held, asked):
    stores = [MemoryStore(1 << 20) for _ in held]
    for store, numbers in zip(stores, held, strict=True):
        store.put_many([BLOCKS[number] for number in numbers])
    joined, cids = JoinedStores(stores), [BLOCKS[number].cid for number in asked]
    here = set().union(*held)
    assert joined.sizes(cids) == [number + 1 if number in here else None for number in asked]
    with joined.view(cids) as views:
        found = [None if view is None else bytes(view) for view in views]
    assert found == [BLOCKS[number].data if number in here else None for number in asked]


def test_views_die_with_the_context(tmp_path):
    with_disk = DiskStore(tmp_path / "blocks", quota=1 << 24)
    with_disk.put_many([BLOCKS[3]])
    joined = JoinedStores([MemoryStore(1 << 20), with_disk])
    with joined.view([BLOCKS[3].cid, BLOCKS[4].cid]) as (view, absent):
        assert (bytes(view), absent) == (BLOCKS[3].data, None)
    with pytest.raises(ValueError, match="released"):
        bytes(view)
    with_disk.close()
