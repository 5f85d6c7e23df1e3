"""Copies at remote tiers of what is pinned, under a moved clock."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from ipfs_kit_py.content.replicas import Replicas
from ipfs_kit_py.content.source import BlockSource
from ipfs_kit_py.core.cid import Block
from ipfs_kit_py.core.config import REPLICA_CHECK_SECONDS, REPLICA_CHECKS, REPLICA_RETRY_MAX_SECONDS
from ipfs_kit_py.core.errors import BackendError, ConfigError, NotFound, NotSupported
from ipfs_kit_py.storage.disk import DiskStore
from ipfs_kit_py.storage.memory import MemoryStore
from ipfs_kit_py.storage.remote.base import Health, Status
from test.net.exchanges import block, play
from test.remote.dags import tree

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from ipfs_kit_py.core.cid import CID
    from ipfs_kit_py.core.interfaces import Exchange
    from ipfs_kit_py.storage.base import LocalStore


class KeepingTier:
    """Keeps DAGs; each is ``safe`` once it was told so."""

    verbs = frozenset({"put", "remove", "status"})

    def __init__(self, name: str = "tier", *, safe: bool = True) -> None:
        self.name = name
        self.safe = safe
        self.given_up = False
        self.removals = 0
        self.error: Exception | None = None
        self.dags: dict[CID, dict[CID, bytes]] = {}
        self.puts: list[tuple[CID, str]] = []
        self.looks = 0
        self.seconds = 0.1  # that a put takes

    async def get(self, cid: CID) -> bytes:
        raise AssertionError("not in its verbs")

    def get_dag(self, root: CID) -> AsyncGenerator[Block, None]:
        raise AssertionError("not in its verbs")

    async def has(self, cid: CID) -> bool:
        return cid in self.dags

    async def put(self, root: CID, blocks: AsyncIterable[Block], *, label: str = "") -> Status:
        self.puts.append((root, label))
        await trio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        self.dags[root] = {cid: bytes(data) async for cid, data in blocks}
        return await self.status(root)

    async def remove(self, root: CID) -> None:
        self.removals += 1
        await trio.sleep(0.1)
        if self.error is not None:
            raise self.error
        self.dags.pop(root, None)

    async def status(self, root: CID) -> Status:
        self.looks += 1
        if root not in self.dags:
            raise NotFound(f"no {root}", cid=root)
        if self.given_up:
            return Status(root, "failed", safe=False)
        return Status(root, "pinned" if self.safe else "pinning", self.safe, replicas=2 * self.safe, wanted=2)

    async def health(self) -> Health:
        return Health(True, 0.0)

    async def aclose(self) -> None:
        pass


@asynccontextmanager
async def replicating(
    store: LocalStore,
    *tiers: KeepingTier,
    of_pins: Sequence[str] = ("tier",),
    told: list[str] | None = None,
    clock: Callable[[], float] = trio.current_time,
    exchange: Exchange | None = None,
) -> AsyncIterator[Replicas]:
    """What looks after ``tiers``, running."""
    async with trio.open_nursery() as nursery:
        made = Replicas(
            nursery, BlockSource(store, exchange), store, tiers, of_pins, clock=clock,
            on_stored=lambda tier, _cids: told.append(tier) if told is not None else None,
        )  # fmt: skip
        await nursery.start(made.run)
        yield made
        nursery.cancel_scope.cancel()


def pinned(store: LocalStore, leaves: int = 25, seed: int = 1, name: str = "") -> list[Block]:
    """A DAG in the store, pinned."""
    blocks = tree(leaves, seed=seed)
    store.put_many(blocks, kept=True)
    store.pins.add(blocks[0].cid, name=name)
    return blocks


def test_a_pinned_dag_is_put_whole_with_its_name_and_removed_when_it_is_unpinned() -> None:
    async def scenario() -> None:
        store, tier, told = MemoryStore(), KeepingTier(), list[str]()
        dag = pinned(store, name="mine")
        async with replicating(store, tier, told=told) as replicas:
            await trio.sleep(1.0)
            assert tier.puts == [(dag[0].cid, "mine")]
            assert tier.dags[dag[0].cid] == {cid: bytes(data) for cid, data in dag}
            assert told == ["tier"]
            [found] = await replicas.of(dag[0].cid)
            assert (found.state, found.safe, found.replicas, found.by_pin) == ("pinned", True, 2, True)
            assert replicas.statistics()[0].safe == 1
            store.pins.rm(dag[0].cid)
            replicas.wake()
            await trio.sleep(1.0)
            assert not tier.dags
            assert not await replicas.of(dag[0].cid)

    play(scenario)


def test_that_a_copy_is_of_a_pin_is_noted_with_the_copy_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop between two notes would leave a copy that nobody removes."""

    async def scenario() -> None:
        store, tier, seen = MemoryStore(), KeepingTier(), list[bytes]()
        put = store.records.put
        monkeypatch.setattr(store.records, "put", lambda *row: (seen.append(row[2]), put(*row)))
        pinned(store)
        async with replicating(store, tier):
            await trio.sleep(1.0)
        assert seen
        assert all(b'"by_pin": true' in row for row in seen)

    play(scenario)


def test_a_pin_made_later_is_put_at_once_when_told_of_it() -> None:
    async def scenario() -> None:
        store, tier = MemoryStore(), KeepingTier()
        async with replicating(store, tier) as replicas:
            await trio.sleep(5.0)
            dag = pinned(store)
            replicas.wake()
            await trio.sleep(1.0)
            assert list(tier.dags) == [dag[0].cid]

    play(scenario)


def test_a_failure_is_tried_again_less_and_less_often_until_it_succeeds() -> None:
    async def scenario() -> None:
        store, tier = MemoryStore(), KeepingTier()
        tier.error = BackendError("it is full")
        dag = pinned(store)
        async with replicating(store, tier) as replicas:
            await trio.sleep(3000.0)
            assert 5 < len(tier.puts) < 15
            [found] = await replicas.of(dag[0].cid)
            assert (found.state, found.safe, found.error) == ("failed", False, "it is full")
            assert replicas.statistics()[0].failed == 1
            tier.error = None
            await trio.sleep(REPLICA_RETRY_MAX_SECONDS)
            [found] = await replicas.of(dag[0].cid)
            assert (found.safe, found.failures, found.error) == (True, 0, "")

    play(scenario)


def test_what_a_tier_lost_is_put_again() -> None:
    async def scenario() -> None:
        store, tier = MemoryStore(), KeepingTier()
        dag = pinned(store)
        async with replicating(store, tier) as replicas:
            await trio.sleep(1.0)
            tier.dags.clear()
            await trio.sleep(2 * REPLICA_CHECK_SECONDS)
            assert list(tier.dags) == [dag[0].cid]
            [found] = await replicas.of(dag[0].cid)
            assert found.by_pin

    play(scenario)


def test_a_copy_that_is_on_its_way_is_looked_at_until_it_is_safe() -> None:
    async def scenario() -> None:
        store, tier = MemoryStore(), KeepingTier(safe=False)
        dag = pinned(store)
        async with replicating(store, tier) as replicas:
            await trio.sleep(100.0)
            assert replicas.statistics()[0].pending == 1
            assert len(tier.puts) == 1
            tier.safe = True
            await trio.sleep(100.0)
            assert (await replicas.of(dag[0].cid))[0].safe
            looks = tier.looks
            await trio.sleep(1000.0)
            assert tier.looks == looks

    play(scenario)


@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_a_clock_that_jumps_neither_stops_the_looks_nor_floods_the_tier(jump: float) -> None:
    async def scenario() -> None:
        store, tier, moved = MemoryStore(), KeepingTier(safe=False), 0.0
        pinned(store)
        async with replicating(store, tier, clock=lambda: 2e9 + trio.current_time() + moved) as replicas:
            await trio.sleep(100.0)
            moved, looks = jump, tier.looks
            await trio.sleep(1000.0)
            assert 10 < tier.looks - looks < 100
            tier.safe = True
            await trio.sleep(100.0)
            assert replicas.statistics()[0].safe == 1
            assert len(tier.puts) == 1

    play(scenario)


def test_a_copy_made_by_hand_stays_whatever_is_pinned() -> None:
    async def scenario() -> None:
        store, tier = MemoryStore(), KeepingTier()
        blocks = tree(3)
        store.put_many(blocks)
        async with replicating(store, tier) as replicas:
            put = await replicas.put("tier", blocks[0].cid)
            assert put.safe
            await trio.sleep(2 * REPLICA_CHECK_SECONDS)
            assert tier.dags
            await replicas.remove("tier", blocks[0].cid)
            assert not tier.dags

    play(scenario)


def test_waiting_until_it_is_safe() -> None:
    async def scenario() -> None:
        store, tier = MemoryStore(), KeepingTier(safe=False)
        blocks = tree(3)
        store.put_many(blocks)
        async with replicating(store, tier) as replicas:
            await replicas.put("tier", blocks[0].cid)
            with trio.move_on_after(100.0) as scope:
                await replicas.until_safe("tier", blocks[0].cid)
            assert scope.cancelled_caught
            tier.safe = True
            assert (await replicas.until_safe("tier", blocks[0].cid)).safe

    play(scenario)


def test_a_tier_that_has_given_up_is_not_waited_for() -> None:
    async def scenario() -> None:
        store, tier = MemoryStore(), KeepingTier(safe=False)
        blocks = tree(3)
        store.put_many(blocks)
        async with replicating(store, tier) as replicas:
            await replicas.put("tier", blocks[0].cid)
            tier.given_up = True
            with trio.fail_after(60.0), pytest.raises(BackendError, match="failed to store"):
                await replicas.until_safe("tier", blocks[0].cid)

    play(scenario)


def test_what_a_tier_has_given_up_is_put_again_less_and_less_often() -> None:
    async def scenario() -> None:
        store, tier = MemoryStore(), KeepingTier()
        tier.given_up = True
        dag = pinned(store)
        async with replicating(store, tier) as replicas:
            await trio.sleep(1.0)
            [found] = await replicas.of(dag[0].cid)
            assert (found.state, found.safe, found.failures) == ("failed", False, 1)
            await trio.sleep(4 * REPLICA_RETRY_MAX_SECONDS)
            assert 3 < len(tier.puts) < 20
            tier.given_up = False
            await trio.sleep(2 * REPLICA_RETRY_MAX_SECONDS)
            [found] = await replicas.of(dag[0].cid)
            assert found.safe

    play(scenario)


def test_a_tier_without_remove_is_not_asked_to_and_its_copy_stays() -> None:
    async def scenario() -> None:
        store, tier = MemoryStore(), KeepingTier()
        tier.verbs = frozenset({"put", "status"})
        dag = pinned(store)
        async with replicating(store, tier) as replicas:
            await trio.sleep(1.0)
            store.pins.rm(dag[0].cid)
            replicas.wake()
            await trio.sleep(3 * REPLICA_CHECK_SECONDS)
            assert not tier.removals
            [found] = await replicas.of(dag[0].cid)
            assert (found.safe, found.by_pin, found.failures) == (True, False, 0)

    play(scenario)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"\xff\xfe",
        b'{"tier": "tier"}',
        b'{"tier": "tier", "cid": "no", "state": "pinned"}',
        b'{"tier": "tier", "cid": 5, "state": "pinned"}',
        b'{"tier": "tier", "cid": "%s", "state": "pinned", "due": null}',
    ],
)
def test_a_damaged_record_is_as_none(damaged: bytes) -> None:
    async def scenario() -> None:
        store, tier = MemoryStore(), KeepingTier()
        dag = pinned(store)
        text = damaged.replace(b"%s", str(dag[0].cid).encode())
        store.records.put(b"replicas", b"tier\0" + dag[0].cid.raw, text)
        async with replicating(store, tier) as replicas:
            await trio.sleep(1.0)
            [found] = await replicas.of(dag[0].cid)
            assert found.safe
            assert replicas.statistics()[0].safe == 1

    play(scenario)


def test_one_tier_that_fails_does_not_hold_up_the_other() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        broken, good, other = KeepingTier("broken"), KeepingTier("good"), KeepingTier("other")
        broken.error = ZeroDivisionError("a plug-in's fault")
        dag = pinned(store)
        async with replicating(store, broken, good, other, of_pins=["broken", "good"]) as replicas:
            await trio.sleep(1.0)
            assert good.dags
            assert not other.dags
            assert [row.failed for row in replicas.statistics()] == [1, 0, 0]
            assert [row.tier for row in await replicas.of(dag[0].cid)] == ["broken", "good"]

    play(scenario)


def test_a_tier_that_takes_for_ever_holds_up_no_other() -> None:
    async def scenario() -> None:
        store, slow, quick = MemoryStore(), KeepingTier("slow"), KeepingTier("quick")
        slow.seconds = 1e9
        pinned(store)
        async with replicating(store, slow, quick, of_pins=["slow", "quick"]) as replicas:
            await trio.sleep(1.0)
            second = pinned(store, seed=2)
            replicas.wake()
            await trio.sleep(1.0)
            assert len(quick.dags) == 2
            assert second[0].cid in quick.dags
            assert len(slow.puts) == 1

    play(scenario)


class Waiting:
    """An exchange with nobody to ask: who asks waits."""

    @contextmanager
    def session(self) -> Iterator[Waiting]:
        yield self

    async def fetch_many(self, cids: Sequence[CID], *, size_hint: int | None = None) -> AsyncGenerator[Block, None]:
        await trio.sleep_forever()
        yield Block(cids[0], b"")

    def nobody_has(self, cid: CID) -> bool:
        return True

    async def announce_have(self, blocks: Sequence[Block]) -> None:
        pass


def test_a_pin_that_is_not_whole_holds_up_no_other_while_nobody_has_the_rest() -> None:
    async def scenario() -> None:
        store, tier = MemoryStore(), KeepingTier()
        broken = pinned(store)
        store.delete_many([broken[-1].cid])
        whole = pinned(store, seed=2)
        async with replicating(store, tier, exchange=Waiting()) as replicas:
            await trio.sleep(2.0)
            assert list(tier.dags) == [whole[0].cid]
            assert "not in the store" in (await replicas.of(broken[0].cid))[0].error

    play(scenario)


def test_more_pins_than_one_round_takes_all_get_there() -> None:
    async def scenario() -> None:
        store, tier = MemoryStore(), KeepingTier()
        count = REPLICA_CHECKS + 50
        for number in range(count):
            one = block(number)
            store.put_many([one], kept=True)
            store.pins.add(one.cid)
        async with replicating(store, tier):
            await trio.sleep(count)
            assert len(tier.dags) == len(tier.puts) == count

    play(scenario)


def test_a_dag_that_is_not_whole_is_told_of_and_not_put() -> None:
    async def scenario() -> None:
        store, tier = MemoryStore(), KeepingTier()
        dag = pinned(store)
        store.delete_many([dag[-1].cid])
        async with replicating(store, tier) as replicas:
            await trio.sleep(1.0)
            assert not tier.dags
            assert str(dag[-1].cid) in (await replicas.of(dag[0].cid))[0].error

    play(scenario)


def test_wrong_names_and_verbs_say_what_there_is() -> None:
    async def scenario() -> None:
        store, tier = MemoryStore(), KeepingTier()
        tier.verbs = frozenset({"status"})
        async with replicating(store, tier, of_pins=[]) as replicas:
            with pytest.raises(ConfigError, match=r"'x' \(there are: tier\)"):
                await replicas.put("x", block(1).cid)
            with pytest.raises(NotSupported, match="'put'"):
                await replicas.put("tier", block(1).cid)
            assert not replicas.writable
            with pytest.raises(ConfigError, match=r"no remote tier here stores content \(there are: tier\)"):
                replicas.first_writable()

    play(scenario)


def test_what_was_put_is_known_after_a_restart_and_not_put_again(tmp_path: Path) -> None:
    tier = KeepingTier()

    async def scenario() -> None:
        store = DiskStore(tmp_path)
        if not tier.puts:
            pinned(store)
        async with replicating(store, tier):
            await trio.sleep(2.0)
        store.close()

    play(scenario)
    play(scenario)
    assert len(tier.puts) == 1
