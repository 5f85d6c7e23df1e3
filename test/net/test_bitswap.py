"""Bitswap between nodes over the network in memory: providers that vanish, stall, come back, are old or are found."""

from __future__ import annotations

import logging
import threading
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
import trio

from ipfs_kit_py.bitswap.client import LOOK_SECONDS
from ipfs_kit_py.bitswap.wire import V100, V110, V120, Entry, Message, encode
from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.cid import CID, DAG_PB, RAW, Block, PeerID
from ipfs_kit_py.core.config import (
    INGEST_MAX_BYTES,
    MAX_BLOCK_BYTES,
    MAX_MESSAGE_BYTES,
    PROVIDER_SEARCHES,
    PROVIDERS_PER_SEARCH,
    WRITE_STALL_SECONDS,
)
from ipfs_kit_py.core.errors import InvalidAddress, NotFound, NotRunning, QuotaExceeded, TimedOut
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.net.memory import Link, MemoryNetwork
from ipfs_kit_py.storage.memory import MemoryStore
from test.net.exchanges import Side, Talker, block, blocks, cids, collect, data_of, exchanging, play, talking
from test.net.swarms import settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from ipfs_kit_py.bitswap.client import ClientSession

MIB = 1 << 20
ONE, TWO, THREE = "10.0.0.1", "10.0.0.2", "10.0.0.3"
NET = Link(latency=0.02, bandwidth=20e6)


# --- between two ------------------------------------------------------------------------------------------------------
def test_blocks_are_fetched_verified_and_stored() -> None:
    async def scenario() -> None:
        network, have = MemoryNetwork(default=NET), blocks(50, 20_000)
        one, two = Side(network, ONE, have), Side(network, TWO)
        async with exchanging(one, two):
            await two.connect(one)
            assert await two.fetch(cids(have)) == data_of(have)
            assert two.store.get_many(cids(have)) == [item.data for item in have]
            await settle(lambda: one.stats.bytes_sent == 1_000_000)
            assert (two.stats.bytes_received, two.stats.duplicates) == (1_000_000, 0)
            assert one.bitswap.account(two.peer_id).sent == two.bitswap.account(one.peer_id).received == 1_000_000
            assert two.idle()
            assert one.bitswap.wantlist(two.peer_id) == []

    play(scenario)


@pytest.mark.parametrize("loss", [0.02, 0.2])
def test_a_lossy_line_loses_nothing(loss: float) -> None:
    async def scenario() -> None:
        network, have = MemoryNetwork(default=Link(latency=0.05, bandwidth=5e6, loss=loss)), blocks(60, 50_000)
        one, two = Side(network, ONE, have), Side(network, TWO)
        async with exchanging(one, two):
            await two.connect(one)
            assert await two.fetch(cids(have)) == data_of(have)
            assert two.stats.duplicates <= 3

    play(scenario)


def test_the_largest_block_arrives_over_a_slow_line() -> None:
    async def scenario() -> None:
        network, have = MemoryNetwork(default=Link(latency=0.2, bandwidth=60_000)), blocks(2, MAX_BLOCK_BYTES)
        one, two = Side(network, ONE, have), Side(network, TWO)
        async with exchanging(one, two):
            await two.connect(one)
            assert await two.fetch(cids(have)) == data_of(have)
            assert trio.current_time() > 2 * WRITE_STALL_SECONDS  # one takes longer than a peer may read nothing at all
            assert one.stats.bytes_sent <= 3 * MAX_BLOCK_BYTES

    play(scenario)


def test_a_message_of_four_mebibytes_is_taken() -> None:
    async def scenario() -> None:
        network, have = MemoryNetwork(), blocks(2, MAX_BLOCK_BYTES - 30)
        one, talker = Side(network, ONE), Talker(network, TWO)
        async with exchanging(one), talking(one, talker):
            message = Message(blocks=[(item.cid.prefix, item.data) for item in have])
            size = sum(memoryview(part).nbytes for part in encode(message))
            assert MAX_MESSAGE_BYTES - 100 < size <= MAX_MESSAGE_BYTES

            async def answer(told: Message) -> None:
                if set(talker.wants) == set(cids(have)) and not one.stats.blocks_received:
                    await talker.say(message)

            talker.on_message = answer
            assert await one.fetch(cids(have)) == data_of(have)
            assert one.penalty(talker.peer_id) == 0

    play(scenario)


# boxo's verifier: these functions, digests of 20 to 128 bytes, identity up to 128 bytes
FUNCTIONS = [code for code in multihash.NAMES if code != multihash.IDENTITY]


def test_every_allowed_hash_function_both_versions_of_cids() -> None:
    named = {multihash.name(code) for code in FUNCTIONS}
    wanted = {"sha2-256", "sha2-512", "dbl-sha2-256", "shake-256", "blake3", "blake2b-256", "blake2s-256"}
    wanted |= {f"{kind}-{bits}" for kind in ("sha3", "keccak") for bits in (224, 256, 384, 512)}
    assert wanted <= named

    async def scenario() -> None:
        network = MemoryNetwork()
        have = []
        for code in FUNCTIONS:
            data = b"block of %d" % code + bytes(2000)
            have.append(Block(CID.of(data, RAW if code % 2 else DAG_PB, hash_code=code), data))
        for code, size in [(multihash.BLAKE3, 20), (multihash.BLAKE3, 128), (multihash.SHAKE_256, 32)]:
            data = b"%d bytes of %d" % (size, code)
            have.append(Block(CID(1, RAW, multihash.of(data, code, size)), data))
        data = b"of version 0" + bytes(2000)
        have.append(Block(CID.of(data, DAG_PB, version=0), data))
        one, two = Side(network, ONE, have), Side(network, TWO)
        async with exchanging(one, two):
            await two.connect(one)
            assert await two.fetch(cids(have)) == data_of(have)
            assert two.stats.bytes_unwanted == 0
            assert two.penalty(one.peer_id) == 0

    play(scenario)


def test_one_multihash_under_several_cids_is_fetched_once() -> None:
    async def scenario() -> None:
        network, data = MemoryNetwork(default=NET), bytes(5000)
        zero, one_, raw = CID.of(data, DAG_PB, version=0), CID.of(data, DAG_PB), CID.of(data)
        one, two = Side(network, ONE, [Block(raw, data)]), Side(network, TWO)
        async with exchanging(one, two):
            await two.connect(one)
            assert await two.fetch([zero, one_, raw]) == {zero: data, one_: data, raw: data}
            assert one.stats.bytes_sent == 5000

    play(scenario)


def test_a_small_block_comes_in_place_of_a_have() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        small, large, absent = block(1, 1024), block(2, 1025), block(3)
        one, talker = Side(network, ONE, [small, large]), Talker(network, TWO)
        async with exchanging(one), talking(one, talker):
            asked = [Entry(item.cid, want_have=True, send_dont_have=True) for item in (small, large, absent)]
            await talker.say(Message(entries=asked))
            await settle(lambda: sum(map(len, (talker.got, *(m.haves + m.dont_haves for m in talker.heard)))) >= 3)
            assert talker.got == [small.data]
            assert [cid for message in talker.heard for cid in message.haves] == [large.cid]
            assert [cid for message in talker.heard for cid in message.dont_haves] == [absent.cid]

    play(scenario)


def test_answers_come_on_a_stream_of_the_server() -> None:
    async def scenario() -> None:
        network, item = MemoryNetwork(), block(1)
        one, talker = Side(network, ONE, [item]), Talker(network, TWO)
        async with exchanging(one), talking(one, talker):
            stream = await talker.open()
            await stream.write_message(*encode(Message(entries=[Entry(item.cid)])))
            await stream.close_write()
            assert await stream.read() == b""
            await settle(lambda: talker.got == [item.data])
            assert [opened.outbound for opened in talker.streams] == [False]

    play(scenario)


def test_a_block_that_comes_later_is_sent_to_the_peer_that_waits() -> None:
    async def scenario() -> None:
        network, late = MemoryNetwork(default=NET), block(1)
        one, two = Side(network, ONE), Side(network, TWO)
        async with exchanging(one, two), trio.open_nursery() as nursery:
            await two.connect(one)
            got: list[dict[CID, bytes]] = []

            async def want() -> None:
                got.append(await two.fetch([late.cid]))

            nursery.start_soon(want)
            await settle(lambda: one.bitswap.wantlist(two.peer_id) == [late.cid])
            await trio.sleep(1)
            assert not got
            one.store.put_many([late])
            before = trio.current_time()
            await one.bitswap.announce_have([late])
            await settle(lambda: bool(got))
            assert got == [data_of([late])]
            assert trio.current_time() - before < 0.5  # pushed, not asked for again

    play(scenario)


def test_a_block_that_is_fetched_is_passed_on_to_who_waits_for_it() -> None:
    async def scenario() -> None:
        network, item = MemoryNetwork(default=NET), block(1)
        one, two, three = Side(network, ONE, [item]), Side(network, TWO), Side(network, THREE)
        async with exchanging(one, two, three), trio.open_nursery() as nursery:
            await three.connect(two)
            nursery.start_soon(three.fetch, [item.cid])
            await settle(lambda: two.bitswap.wantlist(three.peer_id) == [item.cid])
            await two.connect(one)
            await two.fetch([item.cid])
            await settle(lambda: three.stats.blocks_received == 1)

    play(scenario)


def test_our_own_blocks_wake_our_own_readers() -> None:
    async def scenario() -> None:
        network, items = MemoryNetwork(), blocks(3)
        one = Side(network, ONE)
        async with exchanging(one), trio.open_nursery() as nursery:
            got: list[dict[CID, bytes]] = []

            async def want() -> None:
                got.append(await one.fetch(cids(items)))

            nursery.start_soon(want)
            nursery.start_soon(want)
            await settle(lambda: one.stats.wants == 3)
            for item in items:
                await one.bitswap.announce_have([item])
            await settle(lambda: len(got) == 2)
            assert got == [data_of(items)] * 2
            assert one.idle()

    play(scenario)


def test_blocks_that_another_process_stores_reach_the_reader() -> None:
    async def scenario() -> None:
        network, items = MemoryNetwork(), blocks(3)
        one = Side(network, ONE)
        async with exchanging(one), trio.open_nursery() as nursery:
            got: list[dict[CID, bytes]] = []

            async def want() -> None:
                got.append(await one.fetch(cids(items)))

            nursery.start_soon(want)
            await settle(lambda: one.stats.wants == 3)
            one.store.put_many(items)  # nobody tells the exchange
            await settle(lambda: bool(got), 2 * LOOK_SECONDS + 1)
            assert got == [data_of(items)]
            assert one.idle()

    play(scenario)


# --- several providers ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("latency", [0.0, 0.05])
def test_eight_providers_of_everything_send_hardly_a_byte_twice(latency: float) -> None:
    async def scenario() -> None:
        network, have = MemoryNetwork(default=Link(latency, 4e6)), blocks(300, 65_536)
        sides = [Side(network, f"10.0.1.{number}", have) for number in range(1, 9)]
        two = Side(network, TWO)
        async with exchanging(two, *sides):
            await two.connect(*sides)
            assert await two.fetch(cids(have), size_hint=65_536) == data_of(have)
            await trio.sleep(5)
            sent = [side.stats.bytes_sent for side in sides]
            assert sum(sent) < 1.05 * 300 * 65_536
            assert min(sent) > 0

    play(scenario)


def test_providers_of_different_halves_give_each_its_own() -> None:
    async def scenario() -> None:
        network, left, right = MemoryNetwork(default=NET), blocks(100, 20_000), blocks(100, 20_000, first=100)
        one, three, two = Side(network, ONE, left), Side(network, THREE, right), Side(network, TWO)
        async with exchanging(one, two, three):
            await two.connect(one, three)
            assert await two.fetch(cids([*left, *right])) == data_of([*left, *right])
            assert (one.stats.bytes_sent, three.stats.bytes_sent) == (2_000_000, 2_000_000)

    play(scenario)


@pytest.mark.parametrize("how", ["reset", "cut", "leave"])
def test_another_provider_takes_over_in_the_middle(how: str) -> None:
    async def scenario() -> None:
        network, have = MemoryNetwork(default=Link(0.01, 3e6)), blocks(200, 50_000)
        one, two, three = Side(network, ONE, have), Side(network, TWO), Side(network, THREE, have)
        async with exchanging(one, two, three):
            await two.connect(one, three)
            got = {}
            with two.bitswap.session() as session:
                async with aclosing(session.fetch_many(cids(have))) as items:
                    async for item in items:
                        got[item.cid] = bytes(item.data)
                        if len(got) == 80:
                            assert min(one.stats.bytes_sent, three.stats.bytes_sent) > 0
                            if how == "reset":
                                network.reset(ONE, TWO)
                            elif how == "cut":
                                network.link(ONE, TWO).cut = True
                            else:
                                await one.swarm.disconnect(two.peer_id)
            assert got == data_of(have)
            assert trio.current_time() < 60
            assert two.idle()

    play(scenario)


def test_a_provider_that_stalls_is_replaced() -> None:
    """It says that it has everything, gives some, and falls silent with its connection open."""

    async def scenario() -> None:
        network, have = MemoryNetwork(default=NET), blocks(100, 50_000)
        one, two, talker = Side(network, ONE, have), Side(network, TWO), Talker(network, THREE)
        async with exchanging(one, two), talking(two, talker):
            await two.connect(one)

            async def promise(message: Message) -> None:
                await talker.say(Message(haves=[entry.cid for entry in message.entries if not entry.cancel]))

            talker.on_message = promise
            assert await two.fetch(cids(have)) == data_of(have)
            assert two.stats.timeouts > 0
            assert trio.current_time() < 120
            assert talker.peer_id in two.swarm.connected()

    play(scenario)


def test_a_peer_that_never_says_a_word_delays_a_fetch_once() -> None:
    async def scenario() -> None:
        network, have = MemoryNetwork(default=NET), blocks(60, 20_000)
        one, two, talker = Side(network, ONE, have), Side(network, TWO), Talker(network, THREE)
        async with exchanging(one, two), talking(two, talker):
            await two.connect(one)
            before = trio.current_time()
            assert await two.fetch(cids(have)) == data_of(have)
            assert trio.current_time() - before < 5

    play(scenario)


def test_a_peer_that_comes_back_is_told_the_wants_again() -> None:
    async def scenario() -> None:
        network, have = MemoryNetwork(default=Link(0.01, 1e6)), blocks(60, 50_000)
        one, two = Side(network, ONE, have), Side(network, TWO)
        async with exchanging(one, two):
            await two.connect(one)
            got = {}
            with two.bitswap.session() as session:
                async with aclosing(session.fetch_many(cids(have))) as items:
                    async for item in items:
                        got[item.cid] = bytes(item.data)
                        if len(got) in (10, 30):
                            network.reset(ONE, TWO)
                            await settle(lambda: not two.swarm.connected() and not one.swarm.connected())
                            await two.connect(one)
            assert got == data_of(have)
            assert one.stats.bytes_sent < 2 * 60 * 50_000

    play(scenario)


def test_wants_wait_for_a_provider_that_was_never_there() -> None:
    async def scenario() -> None:
        network, have = MemoryNetwork(default=NET), blocks(20)
        one, two = Side(network, ONE, have), Side(network, TWO)
        async with exchanging(one, two), trio.open_nursery() as nursery:
            nursery.start_soon(two.fetch, cids(have))
            await trio.sleep(500)
            await two.connect(one)
            await settle(lambda: two.stats.blocks_received == 20, 5)

    play(scenario)


# --- other implementations' habits ------------------------------------------------------------------------------------
@pytest.mark.parametrize("protocol", [V110, V100])
def test_an_old_peer_is_served_and_asked(protocol: str) -> None:
    async def scenario() -> None:
        network = MemoryNetwork(default=NET)
        ours = [Block(CID.of(b"our block %d" % n, DAG_PB, version=0), b"our block %d" % n) for n in range(5)]
        theirs = [Block(CID.of(b"their block %d" % n, DAG_PB, version=0), b"their block %d" % n) for n in range(5)]
        one, talker = Side(network, ONE, ours), Talker(network, TWO, [protocol])
        async with exchanging(one), talking(one, talker):
            talker.serve(theirs)
            assert await one.fetch(cids(theirs)) == data_of(theirs)
            assert not any(entry.want_have for message in talker.heard for entry in message.entries)
            await talker.say(Message(entries=[Entry(cid) for cid in cids([*ours, block(99)])], full=True))
            await settle(lambda: len(talker.got) == 5)
            assert sorted(talker.got) == sorted(bytes(item.data) for item in ours)
            assert {stream.protocol for stream in talker.streams} == {protocol}
            assert one.penalty(talker.peer_id) == 0

    play(scenario)


def test_an_old_peer_without_the_block_does_not_stop_the_others() -> None:
    """It cannot say that it has not got a block."""

    async def scenario() -> None:
        network, have = MemoryNetwork(default=NET), blocks(30)
        one, two, talker = Side(network, ONE, have), Side(network, TWO), Talker(network, THREE, [V110])
        async with exchanging(one, two), talking(two, talker):
            await two.connect(one)
            assert await two.fetch(cids(have)) == data_of(have)
            assert trio.current_time() < 30

    play(scenario)


@pytest.mark.parametrize("how", ["reset", "closed"])
def test_a_peer_that_drops_its_idle_streams_is_still_served_and_asked(how: str) -> None:
    async def scenario() -> None:
        network = MemoryNetwork(default=NET)
        ours, theirs = blocks(6), blocks(6, first=10)
        one, talker = Side(network, ONE, ours), Talker(network, TWO)

        async def drop_streams() -> None:
            await trio.sleep(5)
            for stream in talker.streams:
                if how == "reset":
                    stream.reset()
                else:
                    await stream.close()
            talker.streams.clear()
            await trio.sleep(5)

        async with exchanging(one), talking(one, talker):
            talker.serve(theirs)
            for mine, other in zip(ours, theirs, strict=True):
                before = trio.current_time()
                assert await one.fetch([other.cid]) == data_of([other])
                await talker.say(Message(entries=[Entry(mine.cid)]))
                await settle(lambda mine=mine: mine.data in talker.got)
                assert trio.current_time() - before < 2  # not by asking again
                await drop_streams()
            assert len(talker.got) == 6

    play(scenario)


def test_a_stream_of_wants_that_ends_at_once_is_opened_again_and_they_are_told_again() -> None:
    async def scenario() -> None:
        network, theirs = MemoryNetwork(default=NET), blocks(6)
        one, talker = Side(network, ONE), Talker(network, TWO)
        refused = []

        async def listen(stream):  # type: ignore[no-untyped-def]
            if len(refused) < 3:
                refused.append(stream)
                stream.reset()
                return
            await talker.listen(stream)

        talker.stranger.handlers[V120] = listen
        async with exchanging(one), talking(one, talker):
            talker.serve(theirs)
            assert await one.fetch(cids(theirs)) == data_of(theirs)
            assert trio.current_time() < 60

    play(scenario)


def test_a_peer_that_does_not_speak_bitswap_is_left_alone() -> None:
    async def scenario() -> None:
        network, have = MemoryNetwork(default=NET), blocks(5)
        one, two, talker = Side(network, ONE, have), Side(network, TWO), Talker(network, THREE, ["/other/1"])
        async with exchanging(one, two), talking(two, talker):
            await two.connect(one)
            assert await two.fetch(cids(have)) == data_of(have)
            await settle(lambda: two.stats.peers == 1)
            assert talker.heard == []

    play(scenario)


# --- providers are searched for ---------------------------------------------------------------------------------------
def found(*sides: Side | tuple[PeerID, list[str]]):  # type: ignore[no-untyped-def]
    async def find(_cid: CID) -> AsyncIterator[tuple[PeerID, list[str]]]:
        for side in sides:
            yield (side.peer_id, [side.address]) if isinstance(side, Side) else side

    return find


def stranger_id() -> PeerID:
    return PrivateKey.generate().peer_id()


def test_providers_that_are_found_are_dialled_and_asked() -> None:
    async def scenario() -> None:
        network, have = MemoryNetwork(default=NET), blocks(50)
        one = Side(network, ONE, have)
        two = Side(network, TWO, find_providers=found(one))
        async with exchanging(one, two):
            assert await two.fetch(cids(have)) == data_of(have)
            assert trio.current_time() < 2
            assert two.idle()

    play(scenario)


def test_providers_that_are_false_dead_or_ourselves_stop_nothing() -> None:
    async def scenario() -> None:
        network, have = MemoryNetwork(default=NET), blocks(50)
        one, empty = Side(network, ONE, have), Side(network, THREE)
        finds: list[Side | tuple[PeerID, list[str]]] = []
        two = Side(network, TWO, find_providers=found_later(finds))
        finds += [
            (two.peer_id, [two.address]),
            (stranger_id(), ["/ip4/10.9.9.9/tcp/1"]),
            (stranger_id(), []),
            (stranger_id(), ["garbage", ""]),
            (stranger_id(), [one.address]),  # another answers there
            empty,
            empty,
            (one.peer_id, ["garbage", "/ip4/1.2.3.4/nonsense/7", f"{empty.address}/p2p/{empty.peer_id}", one.address]),
        ]
        async with exchanging(one, two, empty):
            assert await two.fetch(cids(have)) == data_of(have)
            assert two.idle()

    play(scenario)


def found_later(finds: list[Side | tuple[PeerID, list[str]]]):  # type: ignore[no-untyped-def]
    return lambda cid: found(*finds)(cid)


@pytest.mark.parametrize("error", [ValueError("a fault"), NotFound("nobody"), InvalidAddress("bad")])
def test_a_search_that_fails_stops_nothing(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        network, have = MemoryNetwork(default=NET), blocks(5)
        one = Side(network, ONE, have)
        searches = 0

        async def find(_cid: CID) -> AsyncIterator[tuple[PeerID, list[str]]]:
            nonlocal searches
            searches += 1
            if searches == 1:
                raise error
            yield one.peer_id, [one.address]

        two = Side(network, TWO, find_providers=find)
        async with exchanging(one, two):
            assert await two.fetch(cids(have)) == data_of(have)
            assert searches > 1

    with caplog.at_level(logging.ERROR):
        play(scenario)
    assert ("a fault of its own" in caplog.text) == (type(error) is ValueError)


def test_a_search_that_yields_garbage_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        network, have = MemoryNetwork(default=NET), blocks(5)
        one = Side(network, ONE, have)
        junk: list[object] = [(one.peer_id, [one.address]), (1, 2), ("x", None), 7, None]

        async def find(_cid: CID):  # type: ignore[no-untyped-def]
            while junk:
                yield junk.pop()
                await trio.sleep(1)

        two = Side(network, TWO, find_providers=find)
        async with exchanging(one, two):
            assert await two.fetch(cids(have)) == data_of(have)
            assert not junk

    play(scenario)


def test_searches_that_never_end_keep_no_place() -> None:
    """More of them than may run at once; each ends when nobody wants its block any more."""

    async def scenario() -> None:
        network, have = MemoryNetwork(default=NET), blocks(5)
        one = Side(network, ONE, have)
        running: set[CID] = set()

        async def find(cid: CID) -> AsyncIterator[tuple[PeerID, list[str]]]:
            running.add(cid)
            try:
                if cid in cids(have):
                    yield one.peer_id, [one.address]
                await trio.sleep_forever()
            finally:
                running.remove(cid)

        two = Side(network, TWO, find_providers=find)
        async with exchanging(one, two):
            async with trio.open_nursery() as nursery:
                for item in blocks(2 * PROVIDER_SEARCHES, first=100):
                    nursery.start_soon(two.fetch, [item.cid])
                await settle(lambda: len(running) == PROVIDER_SEARCHES)
                await trio.sleep(1)
                nursery.cancel_scope.cancel()
            await settle(lambda: not running)
            assert await two.fetch(cids(have)) == data_of(have)
            await settle(lambda: not running)
            assert two.idle()

    play(scenario)


def test_a_search_without_end_does_not_starve_those_of_others() -> None:
    async def scenario() -> None:
        network, have = MemoryNetwork(default=NET), blocks(5)
        one = Side(network, ONE, have)

        async def find(cid: CID) -> AsyncIterator[tuple[PeerID, list[str]]]:
            if cid in cids(have):
                yield one.peer_id, [one.address]
            await trio.sleep_forever()

        two = Side(network, TWO, find_providers=find)
        async with exchanging(one, two), trio.open_nursery() as nursery:
            for item in blocks(PROVIDER_SEARCHES, first=100):
                nursery.start_soon(two.fetch, [item.cid])
            await trio.sleep(1)
            assert await two.fetch(cids(have)) == data_of(have)
            nursery.cancel_scope.cancel()

    play(scenario)


def test_no_more_providers_are_dialled_than_are_of_use() -> None:
    async def scenario() -> None:
        network = MemoryNetwork(default=NET)
        given = 0

        async def find(_cid: CID) -> AsyncIterator[tuple[PeerID, list[str]]]:
            nonlocal given
            while True:
                given += 1
                yield stranger_id(), [f"/ip4/10.7.0.{given % 250}/tcp/{given}"]

        two = Side(network, TWO, find_providers=find)
        async with exchanging(two):
            with pytest.raises((NotFound, TimedOut)):
                await two.fetch([block(1).cid], timeout=5)
            assert given <= 2 * PROVIDERS_PER_SEARCH
            assert len(network.dials) <= 2 * PROVIDERS_PER_SEARCH

    play(scenario)


# --- the end of a fetch -----------------------------------------------------------------------------------------------
def test_a_fetch_that_is_left_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        network, have = MemoryNetwork(default=Link(0.01, 1e6)), blocks(400, 50_000)
        one, two = Side(network, ONE, have), Side(network, TWO)
        async with exchanging(one, two):
            await two.connect(one)
            assert await two.fetch(cids(have[:2])) == data_of(have[:2])
            await settle(lambda: one.bitswap.wantlist(two.peer_id) == [])
            nursery = two.bitswap._client._nursery
            assert nursery is not None
            tasks = len(nursery.child_tasks)
            with two.bitswap.session() as session:
                async with aclosing(session.fetch_many(cids(have[2:]))) as items:
                    async for _item in items:
                        break
            assert two.idle()
            with trio.move_on_after(0.1) as scope:
                await two.fetch([*cids(have), *cids(blocks(50, first=1000))])
            assert scope.cancelled_caught
            assert two.idle()
            await settle(lambda: one.bitswap.wantlist(two.peer_id) == [] and one.stats.peer_wants == 0)
            await trio.sleep(60)
            assert len(nursery.child_tasks) == tasks
            assert one.stats.bytes_sent < 6 * MIB  # of 20: what was under way
            assert two.penalty(one.peer_id) == one.penalty(two.peer_id) == 0  # late answers are no lies

    play(scenario)


def test_one_of_two_readers_may_leave() -> None:
    async def scenario() -> None:
        network, have = MemoryNetwork(default=Link(0.01, 1e6)), blocks(50, 20_000)
        one, two = Side(network, ONE, have), Side(network, TWO)
        got: list[dict[CID, bytes]] = []

        async def patient() -> None:
            got.append(await two.fetch(cids(have)))

        async with exchanging(one, two), trio.open_nursery() as nursery:
            await two.connect(one)
            nursery.start_soon(patient)
            with trio.move_on_after(0.2):
                await two.fetch(cids(have))
            await settle(lambda: bool(got))
            assert got == [data_of(have)]
            assert two.stats.duplicates == 0

    play(scenario)


def test_a_session_that_ends_before_its_blocks_says_so() -> None:
    async def scenario() -> None:
        one = Side(MemoryNetwork(), ONE)
        async with exchanging(one), trio.open_nursery() as nursery:

            async def read(session) -> None:  # type: ignore[no-untyped-def]
                with pytest.raises(NotRunning):
                    await collect(session, [block(1).cid])

            with one.bitswap.session() as session:
                nursery.start_soon(read, session)
                await settle(lambda: one.stats.wants == 1)
            await settle(one.idle, 5)
            with pytest.raises(NotRunning):
                await collect(session, [block(1).cid])

    play(scenario)


def test_a_block_that_nobody_has_is_not_found_in_time() -> None:
    async def scenario() -> None:
        network = MemoryNetwork(default=NET)
        one, two = Side(network, ONE), Side(network, TWO)
        async with exchanging(one, two):
            await two.connect(one)
            with pytest.raises(NotFound) as caught:
                await two.fetch([block(1).cid], timeout=3)
            assert caught.value.cid == block(1).cid
            network.link(ONE, TWO).cut = True
            with pytest.raises(TimedOut):
                await two.fetch([block(2).cid], timeout=0.3)
            assert two.idle()

    play(scenario)


def test_wants_of_a_higher_priority_come_first() -> None:
    async def scenario() -> None:
        network = MemoryNetwork(default=Link(0.01, 1e6))
        many, urgent = blocks(300, 50_000), blocks(5, 50_000, first=1000)
        one, two = Side(network, ONE, [*many, *urgent]), Side(network, TWO)
        order: list[tuple[str, int]] = []

        async def read(session: ClientSession, name: str, items: Iterable[Block], priority: int) -> None:
            await collect(session, cids(items), priority=priority, size_hint=50_000)
            order.append((name, two.stats.blocks_received))

        async with exchanging(one, two):
            await two.connect(one)
            with two.bitswap.session() as session:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read, session, "many", many, 1)
                    await settle(lambda: two.stats.blocks_received > 3)
                    nursery.start_soon(read, session, "urgent", urgent, 100)
            assert [name for name, _ in order] == ["urgent", "many"]
            assert order[0][1] < 200

    play(scenario)


# --- the store --------------------------------------------------------------------------------------------------------
def test_a_full_store_is_the_readers_error_and_the_connection_lives_on() -> None:
    async def scenario() -> None:
        network, have = MemoryNetwork(default=NET), blocks(20, 50_000)
        one = Side(network, ONE, have)
        two = Side(network, TWO, store=MemoryStore(200_000, evict=False))
        async with exchanging(one, two):
            await two.connect(one)
            (connection,) = two.swarm.connections()
            with pytest.raises(QuotaExceeded):
                await two.fetch(cids(have))
            assert two.idle()
            two.store.delete_many(cids(have))
            assert await two.fetch(cids(have[:2])) == data_of(have[:2])
            assert not connection.is_closed
            assert two.penalty(one.peer_id) == 0

    play(scenario)


def test_what_fits_is_stored_though_another_block_of_its_batch_does_not() -> None:
    async def scenario() -> None:
        network = MemoryNetwork(default=NET)
        small, large = block(1, 1000), block(2, 500_000)
        one = Side(network, ONE, [small, large])
        two = Side(network, TWO, store=MemoryStore(200_000, evict=False))
        got: list[dict[CID, bytes]] = []

        async def lucky() -> None:
            got.append(await two.fetch([small.cid]))

        async with exchanging(one, two):
            await two.connect(one)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lucky)
                with pytest.raises(QuotaExceeded):
                    await two.fetch([large.cid])
            assert got == [data_of([small])]

    play(scenario)


class SlowStore(MemoryStore):
    """Its disk stands still until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def put_many(self, blocks: Iterable[Block], *, kept: bool = False) -> None:
        items = list(blocks)
        if items:
            self.go_on.wait()
        super().put_many(items, kept=kept)


def test_while_the_disk_stands_still_the_reading_stops_and_others_are_served() -> None:
    have, ours = blocks(40, MAX_BLOCK_BYTES), blocks(20, 100_000, first=100)

    async def scenario() -> None:
        network, slow = MemoryNetwork(), SlowStore()
        givers = [
            Side(network, f"10.0.1.{number}", have) for number in range(12)
        ]  # each is trusted with 4 MiB at first
        two, three = Side(network, TWO, store=slow), Side(network, THREE)
        MemoryStore.put_many(slow, ours)
        got: list[dict[CID, bytes]] = []

        async def read() -> None:
            got.append(await two.fetch(cids(have), size_hint=MAX_BLOCK_BYTES))

        async with exchanging(two, three, *givers):
            await two.connect(*givers)
            await three.connect(two)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                ingest = two.bitswap._client._ingest
                try:
                    await settle(lambda: ingest._held > INGEST_MAX_BYTES)
                    assert await three.fetch(cids(ours)) == data_of(ours)
                    await trio.testing.wait_all_tasks_blocked(0.1)
                    assert ingest._held <= INGEST_MAX_BYTES + MAX_MESSAGE_BYTES + MIB
                    assert not got
                finally:
                    slow.go_on.set()
            assert got == [data_of(have)]
            assert ingest._held == 0

    async def bounded() -> None:
        with trio.fail_after(60):
            await scenario()

    trio.run(bounded)
