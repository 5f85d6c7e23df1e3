"""One suite over every block store: what `BlockStore` and `LocalStore` promise."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.cid import CID, DAG_PB, Block
from ipfs_kit_py.core.errors import InvalidName, NotFound, NotRunning, QuotaExceeded
from ipfs_kit_py.core.interfaces import BlockStore
from ipfs_kit_py.storage.base import Problem
from ipfs_kit_py.storage.disk import DiskStore
from ipfs_kit_py.storage.memory import MemoryStore
from ipfs_kit_py.storage.shm import SharedMemoryStore
from ipfs_kit_py.storage.tiers import TieredStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ipfs_kit_py.storage.base import LocalStore

    Make = Callable[..., LocalStore]

QUOTA = 1 << 20


def block(number: int, size: int = 1000) -> Block:
    data = (number.to_bytes(8, "big") * (size // 8 + 1))[:size]
    return Block(CID.of(data), data)


@pytest.fixture(params=["memory", "disk", "shared", "tiered", "tiered over shared"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    opened: list[LocalStore] = []

    def build(quota: int = QUOTA) -> LocalStore:
        store: LocalStore
        if request.param == "memory":
            store = MemoryStore(quota)
        elif request.param == "disk":
            store = DiskStore(tmp_path / str(len(opened)), quota=quota)
        elif request.param == "shared":
            store = SharedMemoryStore(quota)
        else:
            memory = MemoryStore(4000) if request.param == "tiered" else SharedMemoryStore(4000)
            store = TieredStore(memory, DiskStore(tmp_path / str(len(opened)), quota=quota), hot_bytes=1500)
        opened.append(store)
        return store

    yield build
    for store in opened:
        store.close()


@pytest.fixture
def store(make: Make) -> LocalStore:
    return make()


def test_is_a_block_store(store: LocalStore) -> None:
    assert isinstance(store, BlockStore)
    assert type(store).__name__ in repr(store)


@pytest.mark.parametrize("kept", [True, False])
def test_gives_back_what_was_put(store: LocalStore, kept: bool) -> None:
    blocks = [block(number, size) for number, size in enumerate((1, 17, 1000, 4080, 4096, 9999, 262_144))]
    store.put_many(blocks, kept=kept)
    cids = [cid for cid, _data in blocks]
    assert store.get_many(cids) == [data for _cid, data in blocks]
    assert store.has_many(cids) == [True] * len(cids)
    assert store.sizes(cids) == [len(data) for _cid, data in blocks]
    with store.view(cids) as views:
        assert [bytes(view) for view in views if view is not None] == [data for _cid, data in blocks]


def test_misses_are_none(store: LocalStore) -> None:
    store.put_many([block(1)])
    cids = [block(2).cid, block(1).cid, block(3).cid]
    assert store.get_many(cids) == [None, block(1).data, None]
    assert store.has_many(cids) == [False, True, False]
    assert store.sizes(cids) == [None, 1000, None]
    with store.view(cids) as views:
        assert [view is None for view in views] == [True, False, True]
    assert store.get_many([]) == [] == store.has_many([])


@pytest.mark.parametrize("kept", [True, False])
def test_takes_the_empty_block(store: LocalStore, kept: bool) -> None:
    empty = Block(CID.of(b""), b"")
    store.put_many([empty], kept=kept)
    assert store.get_many([empty.cid]) == [b""]
    assert store.sizes([empty.cid]) == [0]
    with store.view([empty.cid]) as views:
        assert views[0] is not None
        assert views[0].nbytes == 0


def test_takes_any_buffer_and_copies_it(store: LocalStore) -> None:
    data = bytearray(b"x" * 3000)
    wanted = bytes(data)
    store.put_many([Block(CID.of(data), data)])
    strided = memoryview(b"ab" * 2000)[::2]
    store.put_many([Block(CID.of(bytes(strided)), strided)], kept=True)
    data[:] = b"y" * 3000
    assert store.get_many([CID.of(wanted), CID.of(bytes(strided))]) == [wanted, bytes(strided)]


def test_cids_of_one_multihash_name_one_block(store: LocalStore) -> None:
    data = block(1).data
    raw, other = CID.of(data), CID.of(data, DAG_PB, version=0)
    store.put_many([Block(raw, data), Block(other, data)], kept=True)
    assert store.get_many([other, other.to_v1()]) == [data, data]
    assert list(store.keys()) == [raw.multihash]
    assert store.statistics().blocks == 1
    assert store.delete_many([other, raw]) == 1
    assert store.has_many([raw]) == [False]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
def test_putting_again_stores_once(store: LocalStore, first: bool, second: bool) -> None:
    store.put_many([block(1), block(1)], kept=first)
    store.put_many([block(1)], kept=second)
    found = store.statistics()
    assert (found.blocks, found.bytes) == (1, 1000)
    assert found.kept_blocks == (1 if first or second else 0)
    assert list(store.keys()) == [block(1).cid.multihash]


def test_deletes_and_tells_how_many(store: LocalStore) -> None:
    store.put_many([block(1)], kept=True)
    store.put_many([block(2)])
    assert store.delete_many([block(1).cid, block(2).cid, block(3).cid, block(2).cid]) == 2
    assert store.has_many([block(1).cid, block(2).cid]) == [False, False]
    assert store.statistics().bytes == 0
    assert store.delete_many([block(1).cid]) == 0


def test_lists_every_key_once(store: LocalStore) -> None:
    kept, fetched = [block(number) for number in range(300)], [block(number) for number in range(200, 500)]
    store.put_many(kept, kept=True)
    store.put_many(fetched)
    names = list(store.keys())
    assert len(names) == 500
    assert set(names) == {entry.cid.multihash for entry in kept + fetched}


def test_fetched_blocks_make_room_for_newer_ones(make: Make) -> None:
    store = make(quota=100_000)
    for number in range(300):
        store.put_many([block(number)])
        assert store.statistics().bytes <= 100_000
    assert store.has_many([block(299).cid, block(250).cid]) == [True, True]
    assert store.get_many([block(0).cid]) == [None]
    assert store.statistics().evicted == 200


def test_blocks_in_use_outlive_those_that_are_not(make: Make) -> None:
    store = make(quota=100_000)
    store.put_many([block(number, 2000) for number in range(50)])
    for number in range(50, 90):
        store.get_many([block(0, 2000).cid])
        store.put_many([block(number, 2000)])
    assert store.has_many([block(0, 2000).cid, block(1, 2000).cid]) == [True, False]


def test_kept_blocks_stay_and_push_fetched_ones_out(make: Make) -> None:
    store = make(quota=100_000)
    store.put_many([block(number, 2000) for number in range(50)])
    for number in range(100, 130):
        store.put_many([block(number, 2000)], kept=True)
    found = store.statistics()
    assert (found.kept_blocks, found.kept_bytes) == (30, 60_000)
    assert found.bytes <= 100_000
    store.put_many([block(number, 2000) for number in range(20)])
    assert all(store.has_many([block(number, 2000).cid for number in range(100, 130)]))


def test_kept_blocks_that_do_not_fit_are_refused_whole(make: Make) -> None:
    store = make(quota=100_000)
    store.put_many([block(number, 2000) for number in range(40)], kept=True)
    more = [block(number, 2000) for number in range(100, 120)]
    with pytest.raises(QuotaExceeded, match="100000"):
        store.put_many(more, kept=True)
    assert not any(store.has_many([cid for cid, _data in more]))
    assert store.statistics().bytes == 80_000
    assert store.statistics().refused > 0
    store.put_many(more[:10], kept=True)


def test_kept_blocks_that_are_there_need_no_room(make: Make) -> None:
    store = make(quota=10_000)
    blocks = [block(number, 2000) for number in range(5)]
    store.put_many(blocks)
    store.put_many(blocks, kept=True)
    store.put_many(blocks, kept=True)
    assert (store.statistics().kept_bytes, store.statistics().fetched_bytes) == (10_000, 0)


def test_promotes_what_was_fetched(make: Make) -> None:
    store = make(quota=20_000)
    store.put_many([block(number, 2000) for number in range(4)])
    store.put_many([block(4, 2000)], kept=True)
    cids = [block(number, 2000).cid for number in range(5)]
    store.promote(cids)
    store.put_many([block(number, 2000) for number in range(100, 120)][:5])
    store.put_many([block(number, 2000) for number in range(105, 110)])
    assert all(store.has_many(cids))
    assert store.statistics().kept_blocks == 5
    with pytest.raises(NotFound) as caught:
        store.promote([cids[0], block(77).cid])
    assert caught.value.cid == block(77).cid


def test_views_end_with_their_context_on_any_thread(store: LocalStore) -> None:
    big = block(1, 5000)
    store.put_many([big, block(2)])
    context = store.view([big.cid, block(2).cid])
    entered: list[memoryview | None] = []
    worker = threading.Thread(target=lambda: entered.extend(context.__enter__()))
    worker.start()
    worker.join()
    first = entered[0]
    assert first is not None
    assert first == big.data
    assert first.readonly
    context.__exit__(None, None, None)
    with pytest.raises(ValueError, match="released"):
        bytes(first)
    assert store.statistics().open_views == 0


def test_view_does_not_change_under_writes(store: LocalStore) -> None:
    store.put_many([block(1, 5000)])
    with store.view([block(1, 5000).cid]) as views:
        store.delete_many([block(1, 5000).cid])
        for number in range(2, 30):
            store.put_many([block(number, 5000)])
            store.delete_many([block(number - 1, 5000).cid])
        assert views[0] == block(1, 5000).data


def test_everything_raises_after_close(store: LocalStore) -> None:
    store.put_many([block(1)])
    store.close()
    store.close()
    for call in (
        lambda: store.get_many([block(1).cid]),
        lambda: store.put_many([block(1)]),
        lambda: store.view([block(1).cid]).__enter__(),
        lambda: list(store.keys()),
        lambda: store.delete_many([block(1).cid]),
    ):
        with pytest.raises(NotRunning):
            call()


# --- pins, garbage, verification --------------------------------------------------------------------------------------


def test_pins(store: LocalStore) -> None:
    one, two = block(1).cid, block(2).cid
    store.pins.add(one, name="größte")
    store.pins.add(two, recursive=False)
    assert store.pins.get(one) == (one, True, "größte")
    assert [(pin.cid, pin.kind, pin.name) for pin in sorted(store.pins.ls())] == sorted(
        [(one, "recursive", "größte"), (two, "direct", "")]
    )
    assert one in store.pins
    assert len(store.pins) == 2
    store.pins.add(two, recursive=True, name="now whole")
    assert store.pins.get(two) == (two, True, "now whole")
    store.pins.rm(one)
    assert store.pins.get(one) is None
    assert one not in store.pins
    with pytest.raises(NotFound):
        store.pins.rm(one)
    with pytest.raises(InvalidName):
        store.pins.add(one, name="x" * 256)


def test_sweep_takes_what_is_not_reachable(store: LocalStore) -> None:
    store.put_many([block(number) for number in range(700)], kept=True)
    store.put_many([block(number) for number in range(700, 710)])
    reachable = {block(number).cid.multihash for number in (0, 5, 699, 705)}
    mark = store.mark()
    gone = [key for batch in store.sweep(reachable, mark) for key in batch]
    assert len(gone) == len(set(gone)) == 706
    assert set(store.keys()) == reachable
    assert store.get_many([block(5).cid, block(6).cid]) == [block(5).data, None]


def test_sweep_leaves_what_was_put_after_the_mark(store: LocalStore) -> None:
    store.put_many([block(number) for number in range(10)], kept=True)
    store.put_many([block(number) for number in range(10, 14)])
    mark = store.mark()
    store.put_many([block(20), block(3)], kept=True)  # one new, one put again
    store.put_many([block(21), block(11)])
    store.promote([block(12).cid, block(4).cid])
    for _gone in store.sweep(frozenset(), mark):
        store.put_many([block(22)], kept=True)  # between the transactions
    left = {number for number in range(30) if store.has_many([block(number).cid])[0]}
    assert left == {20, 3, 21, 11, 12, 4, 22}


def test_hold_protects_what_is_pinned_only_at_the_end(store: LocalStore) -> None:
    store.put_many([block(0)], kept=True)
    with store.hold():
        store.put_many([block(1)], kept=True)
        list(store.sweep(frozenset(), store.mark()))
        assert store.has_many([block(0).cid, block(1).cid]) == [False, True]
    list(store.sweep(frozenset(), store.mark()))
    assert store.has_many([block(1).cid]) == [False]


def test_verify_names_false_blocks(store: LocalStore) -> None:
    good, false = block(1), Block(block(2).cid, b"not the bytes")
    odd = Block(CID(1, 0x55, multihash.wrap(0x11, b"x" * 19)), b"short digests cannot be trusted")
    store.put_many([good, false], kept=True)
    store.put_many([odd, block(3)])
    found = {checked.multihash: checked for checked in store.verify()}
    assert {key: checked.problem for key, checked in found.items()} == {
        good.cid.multihash: None,
        false.cid.multihash: Problem.CORRUPT,
        odd.cid.multihash: Problem.UNKNOWN_HASH,
        block(3).cid.multihash: None,
    }
    assert found[good.cid.multihash].size == 1000


def test_threads_share_a_store(store: LocalStore) -> None:
    failures: list[BaseException] = []

    def work(base: int) -> None:
        try:
            for number in range(base, base + 40):
                store.put_many([block(number)], kept=number % 2 == 0)
                assert store.get_many([block(number).cid]) == [block(number).data]
        except BaseException as error:  # noqa: BLE001 - told to the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(1000 * number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert store.statistics().blocks == 240


operations = st.lists(
    st.tuples(st.sampled_from(["put", "keep", "delete", "promote", "sweep"]), st.lists(st.integers(0, 12), max_size=6)),
    max_size=25,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations)
def test_behaves_as_a_dict(make: Make, steps: list[tuple[str, list[int]]]) -> None:
    store, model = make(), dict[int, bool]()
    for verb, numbers in steps:
        cids = [block(number).cid for number in numbers]
        if verb in ("put", "keep"):
            store.put_many([block(number) for number in numbers], kept=verb == "keep")
            model |= {number: model.get(number, False) or verb == "keep" for number in numbers}
        elif verb == "delete":
            assert store.delete_many(cids) == len({number for number in numbers if number in model})
            model = {number: kept for number, kept in model.items() if number not in numbers}
        elif verb == "promote" and set(numbers) <= set(model):
            store.promote(cids)
            model |= dict.fromkeys(numbers, True)
        elif verb == "sweep":
            list(store.sweep({cid.multihash for cid in cids}, store.mark()))
            model = {number: kept for number, kept in model.items() if number in numbers}
    found = store.statistics()
    assert found.blocks == len(model)
    assert found.kept_blocks == sum(model.values())
    assert sorted(store.keys()) == sorted(block(number).cid.multihash for number in model)
    assert store.has_many([block(number).cid for number in range(13)]) == [number in model for number in range(13)]
