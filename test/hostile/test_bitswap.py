"""What peers do to an exchange: none of it reaches another peer, ends the node, or makes anything grow."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio

from ipfs_kit_py.bitswap.exchange import MALFORMED_PENALTY
from ipfs_kit_py.bitswap.wire import V100, V120, Entry, Message, encode
from ipfs_kit_py.core import multihash, varint
from ipfs_kit_py.core.cid import CID, RAW, Block
from ipfs_kit_py.core.config import (
    HAVE_REPLACE_BYTES,
    MAX_BITSWAP_STREAMS_PER_PEER,
    MAX_BLOCK_BYTES,
    MAX_ENTRIES_PER_MESSAGE,
    MAX_LARGE_MESSAGES_PER_PEER,
    MAX_MESSAGE_BYTES,
    MAX_PRESENCES_PER_MESSAGE,
    MAX_WANTLIST_ENTRIES,
    STANDING_THRESHOLD,
    WRITE_STALL_SECONDS,
)
from ipfs_kit_py.core.errors import StreamClosed
from ipfs_kit_py.net.memory import Link, MemoryNetwork
from test.net.exchanges import Side, Talker, block, blocks, cids, data_of, exchanging, play, talking
from test.net.swarms import settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ipfs_kit_py.core.interfaces import Stream

MIB = 1 << 20
ONE, TWO, THREE = "10.0.0.1", "10.0.0.2", "10.0.0.3"
OURS, THEIRS = blocks(30, 20_000), blocks(30, 20_000, first=500)
NET = Link(latency=0.01)


async def works(one: Side, honest: Side, seconds: float = 60.0) -> None:
    """Another peer gets blocks and gives blocks."""
    if one.peer_id not in honest.swarm.connected():
        await honest.connect(one)
    honest.store.delete_many(cids(OURS))
    one.store.delete_many(cids(THEIRS))
    with trio.fail_after(seconds):
        assert await honest.fetch(cids(OURS)) == data_of(OURS)
        assert await one.fetch(cids(THEIRS)) == data_of(THEIRS)
    assert one.penalty(honest.peer_id) == honest.penalty(one.peer_id) == 0


def against(attack: Callable[[Side, Talker, Side], Awaitable[None]], *, protocol: str = V120) -> None:
    """Run an attack by a talker on a node, and see that an honest peer is served after it."""

    async def scenario() -> None:
        network = MemoryNetwork(default=NET)
        one, honest, talker = Side(network, ONE, OURS), Side(network, TWO, THEIRS), Talker(network, THREE, [protocol])
        async with exchanging(one, honest), talking(one, talker):
            await attack(one, talker, honest)
            await works(one, honest)

    play(scenario)


async def refused(one: Side, talker: Talker) -> None:
    """The node has had enough of a peer."""
    await settle(lambda: talker.peer_id not in one.swarm.connected(), 60)
    assert one.penalty(talker.peer_id) >= STANDING_THRESHOLD - 0.1
    assert one.swarm.statistics().refused_peers == 1


# --- blocks -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("protocol", [V120, V100])
def test_blocks_that_nobody_asked_for_are_dropped_and_cost_the_peer(protocol: str) -> None:
    async def attack(one: Side, talker: Talker, _honest: Side) -> None:
        await talker.give(blocks(1, first=900))
        await settle(lambda: one.penalty(talker.peer_id) > 0.9)
        assert talker.peer_id in one.swarm.connected()
        await talker.give(blocks(20, first=901))
        await refused(one, talker)
        assert not any(one.store.has_many(cids(blocks(21, first=900))))
        assert one.stats.bytes_unwanted == 21_000
        assert one.stats.bytes_received == 0

    against(attack, protocol=protocol)


def test_false_blocks_reach_no_reader_and_no_store() -> None:
    async def attack(one: Side, talker: Talker, honest: Side) -> None:
        wanted = blocks(3, first=700)

        async def lie(message: Message) -> None:
            lies = [entry.cid for entry in message.entries if not entry.cancel]
            await talker.say(Message(blocks=[(cid.prefix, b"no such bytes %d" % n) for n, cid in enumerate(lies)]))

        talker.on_message = lie
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.fetch, cids(wanted))
            await settle(lambda: one.penalty(talker.peer_id) > 0.9)
            assert one.stats.wants == 3
            honest.store.put_many(wanted)
            await honest.connect(one)
        assert one.store.get_many(cids(wanted)) == [item.data for item in wanted]
        assert one.stats.bytes_received == 3000

    against(attack)


def test_a_block_sent_over_and_over_is_taken_once_and_costs_the_peer() -> None:
    async def attack(one: Side, talker: Talker, _honest: Side) -> None:
        item = block(700)
        talker.serve([item])
        assert await one.fetch([item.cid]) == data_of([item])
        for _time in range(60):
            await talker.give([item])
        await refused(one, talker)
        assert one.stats.bytes_received == 1000

    against(attack)


DATA = b"the bytes of a block"


def prefix(version: int, codec: int, code: int, size: int) -> bytes:
    return b"".join(map(varint.encode, (version, codec, code, size)))


@pytest.mark.parametrize(
    "head",
    [
        prefix(1, RAW, 0xD5, 16),  # md5
        prefix(1, RAW, 0x22, 8),  # murmur3
        prefix(1, RAW, 0x1012, 32),  # sha2-256 of 254 bits, padded
        prefix(1, RAW, multihash.SHA2_256, 4),
        prefix(1, RAW, multihash.SHA2_256, 20),
        prefix(1, RAW, multihash.SHA2_256, 1 << 40),
        prefix(1, RAW, multihash.BLAKE3, 19),
        prefix(1, RAW, multihash.BLAKE3, 129),
        prefix(1, RAW, multihash.SHAKE_256, 1 << 60),
        prefix(1, RAW, 0xB201, 1),
        prefix(1, RAW, multihash.IDENTITY, 129),
        prefix(1, RAW, multihash.IDENTITY, len(DATA)),
        prefix(2, RAW, multihash.SHA2_256, 32),
        prefix(0, RAW, multihash.SHA2_256, 32),
        prefix(1, RAW, multihash.SHA2_256, 32) + b"\x00",
        b"\x01\x55\x12\xa0",
        b"\xff" * 40,
    ],
    ids=lambda head: head.hex()[:20],
)
def test_prefixes_that_cannot_be_trusted_cost_the_peer(head: bytes) -> None:
    async def attack(one: Side, talker: Talker, _honest: Side) -> None:
        cid, more = CID.of(DATA), bytes(129)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.fetch, [cid, CID.of(more)])
            await settle(lambda: cid in talker.wants)
            before = len(list(one.store.keys()))
            for data in (DATA, more):
                await talker.say(Message(blocks=[(head, data)]))
            await settle(lambda: one.stats.bytes_unwanted == len(DATA + more))
            assert one.penalty(talker.peer_id) > 1.9
            assert len(list(one.store.keys())) == before
            await talker.give([Block(cid, DATA), Block(CID.of(more), more)])

    against(attack)


def test_a_block_over_two_mebibytes_costs_the_peer() -> None:
    async def attack(one: Side, talker: Talker, _honest: Side) -> None:
        large = block(900, MAX_BLOCK_BYTES + 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.fetch, [large.cid])
            await settle(lambda: large.cid in talker.wants)
            await talker.give([large])
            await settle(lambda: one.penalty(talker.peer_id) > 0)
            assert one.stats.bytes_received == 0
            nursery.cancel_scope.cancel()

    against(attack)


# --- messages ---------------------------------------------------------------------------------------------------------
MALFORMED = [
    b"\x0a",
    b"\x0a\xff\xff\xff\xff\x0f",
    b"\xff" * 30,
    b"\x1a\x02\x0a\x00",
    b"\x0a\x05\x0a\x03\x0a\x7f\x00",
    b"\x0b",
    b"\x08" + b"\x80" * 20,
    encode(Message(entries=[Entry(CID.of(b"x"))]))[0][:-3],
]


def test_malformed_messages_cost_the_stream_and_the_peer() -> None:
    async def attack(one: Side, talker: Talker, _honest: Side) -> None:
        for number, junk in enumerate(MALFORMED[:-1], 1):
            stream = await talker.open()
            await stream.write_message(junk)
            with pytest.raises(StreamClosed):
                await stream.read_exactly(1)
            assert one.penalty(talker.peer_id) == pytest.approx(number * MALFORMED_PENALTY, abs=0.05)
        for _time in range(2):  # the first ones are forgiven a little by now
            await talker.say_bytes(MALFORMED[-1])
        await refused(one, talker)

    against(attack)


@pytest.mark.parametrize("seed", range(10))
def test_garbage_never_ends_the_node(seed: int) -> None:
    async def attack(one: Side, talker: Talker, _honest: Side) -> None:
        rng = random.Random(seed)
        good = b"".join(
            map(
                bytes,
                encode(
                    Message(
                        entries=[Entry(cid, want_have=rng.random() < 0.5, send_dont_have=True) for cid in cids(OURS)],
                        blocks=[(item.cid.prefix, item.data[:50]) for item in THEIRS[:2]],
                        haves=cids(OURS[:3]),
                        dont_haves=cids(THEIRS),
                    )
                ),
            )
        )
        for _time in range(30):
            if talker.peer_id not in one.swarm.connected():
                break
            junk = bytearray(good)
            for _change in range(rng.randrange(1, 6)):
                junk[rng.randrange(len(junk))] = rng.randrange(256)
            try:
                await talker.say_bytes(bytes(junk[: rng.randrange(len(junk) + 1)]))
            except StreamClosed:
                break
            await trio.sleep(0.05)

    against(attack)


def test_a_message_over_four_mebibytes_is_refused_before_it_is_read() -> None:
    async def attack(one: Side, talker: Talker, _honest: Side) -> None:
        for size in (MAX_MESSAGE_BYTES + 1, (1 << 63) - 1):
            stream = await talker.open()
            await stream.write(varint.encode(size))
            with pytest.raises(StreamClosed):
                await stream.read_exactly(1)
        for length in (b"\xff" * 9, b"\x80" * 20):
            stream = await talker.open()
            await stream.write(length)
            with pytest.raises(StreamClosed):
                await stream.read_exactly(1)
        assert one.penalty(talker.peer_id) == pytest.approx(4 * MALFORMED_PENALTY, abs=0.05)

    against(attack)


def test_streams_that_end_within_a_message_cost_nothing_but_themselves() -> None:
    async def attack(one: Side, talker: Talker, _honest: Side) -> None:
        for start in (b"\x80", b"\x05abc", b"\xff\xff\x7f" + bytes(1000)):
            stream = await talker.open()
            await stream.write(start)
            await stream.close_write()
            with pytest.raises(StreamClosed):
                await stream.read_exactly(1)
        assert one.bitswap._inbound == {}

    against(attack)


class Steps(trio.abc.Instrument):
    """Counts the turns that tasks have had."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, _task: trio.lowlevel.Task) -> None:
        self.count += 1


@pytest.mark.parametrize("message", [b"", b"\x28\x00", b"".join(map(bytes, encode(Message(haves=[block(1).cid]))))])
def test_a_flood_of_messages_that_say_nothing_does_not_keep_the_loop(message: bytes) -> None:
    async def attack(_one: Side, talker: Talker, _honest: Side) -> None:
        count = 20_000 // (len(message) + 1)
        steps = Steps()
        stream = await talker.open()
        await stream.write_message(b"")
        await trio.sleep(1)
        trio.lowlevel.add_instrument(steps)
        await stream.write((varint.encode(len(message)) + message) * count)
        await stream.close_write()
        assert await stream.read() == b""
        trio.lowlevel.remove_instrument(steps)
        assert steps.count > count // 2

    against(attack)


# --- wants ------------------------------------------------------------------------------------------------------------
def entries(first: int, count: int, **options: bool) -> list[Entry]:
    return [Entry(CID(1, RAW, multihash.of(b"%d" % number)), **options) for number in range(first, first + count)]


def test_a_hundred_thousand_wants_in_one_message_are_refused() -> None:
    async def attack(one: Side, talker: Talker, _honest: Side) -> None:
        await talker.say(Message(entries=[entries(0, 1)[0]] * 90_000))
        await settle(lambda: one.penalty(talker.peer_id) > 0)
        assert one.stats.peer_wants == 0

    against(attack)


def test_many_messages_full_of_wants_keep_their_bound() -> None:
    async def attack(one: Side, talker: Talker, _honest: Side) -> None:
        for number in range(4):
            await talker.say(Message(entries=entries(number * MAX_ENTRIES_PER_MESSAGE, MAX_ENTRIES_PER_MESSAGE)))
        await settle(lambda: one.stats.wants_evicted == 4 * MAX_ENTRIES_PER_MESSAGE - MAX_WANTLIST_ENTRIES)
        assert one.stats.peer_wants == MAX_WANTLIST_ENTRIES
        assert sum(map(len, one.bitswap._server._ledger._waiting.values())) == MAX_WANTLIST_ENTRIES
        await talker.say(Message(entries=[Entry(cid) for cid in cids(OURS)]))  # new ones are never stalled
        await settle(lambda: len(talker.got) == len(OURS))

    against(attack)


def test_one_peers_flood_of_wants_does_not_starve_another() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        many = blocks(600, 65_536, first=2000)
        one, honest, talker = Side(network, ONE, [*OURS, *many]), Side(network, TWO, THEIRS), Talker(network, THREE)
        network.link(ONE, THREE, Link(bandwidth=100e6))
        network.link(ONE, TWO, Link(bandwidth=100e6))
        async with exchanging(one, honest), talking(one, talker):
            await honest.connect(one)
            await talker.say(Message(entries=[Entry(cid, priority=1_000_000) for cid in cids(many)]))
            await settle(lambda: bool(talker.got))
            assert await honest.fetch(cids(OURS)) == data_of(OURS)
            assert len(talker.got) < 300

    play(scenario)


def test_cancels_of_what_was_never_wanted_are_nothing() -> None:
    async def attack(one: Side, talker: Talker, _honest: Side) -> None:
        unknown = [Entry(entry.cid, cancel=True) for entry in entries(0, 5000)]
        await talker.say(Message(entries=unknown, full=True))
        await talker.say(Message(entries=[*entries(0, 5), *[Entry(e.cid, cancel=True) for e in entries(0, 10)]]))
        await trio.sleep(1)
        assert one.stats.peer_wants == 0
        assert one.penalty(talker.peer_id) == 0

    against(attack)


def test_presences_that_nobody_asked_for_change_nothing() -> None:
    async def attack(one: Side, talker: Talker, honest: Side) -> None:
        wanted = block(800)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.fetch, [wanted.cid])
            await settle(lambda: one.stats.wants == 1)
            for first in range(0, 4 * 4000, 4000):
                named = [entry.cid for entry in entries(first, 4000)]
                await talker.say(Message(haves=named, dont_haves=named))
            await talker.say(Message(dont_haves=[wanted.cid]))
            await trio.sleep(1)
            assert one.stats.wants == 1
            honest.store.put_many([wanted])
            await honest.connect(one)
        too_many = [entries(0, 1)[0].cid] * (MAX_PRESENCES_PER_MESSAGE + 1)
        await talker.say(Message(haves=too_many))
        await settle(lambda: one.penalty(talker.peer_id) > 0)

    against(attack)


def test_a_peer_that_promises_everything_and_gives_nothing_delays_only() -> None:
    async def attack(one: Side, talker: Talker, honest: Side) -> None:
        async def promise(message: Message) -> None:
            await talker.say(Message(haves=[entry.cid for entry in message.entries if not entry.cancel]))

        talker.on_message = promise
        await honest.connect(one)
        assert await one.fetch(cids(THEIRS)) == data_of(THEIRS)

    against(attack)


# --- streams ----------------------------------------------------------------------------------------------------------
def test_a_flood_of_streams_is_capped() -> None:
    async def attack(one: Side, talker: Talker, _honest: Side) -> None:
        assert talker.connection is not None
        streams = [await talker.open() for _ in range(3 * MAX_BITSWAP_STREAMS_PER_PEER)]
        for stream in streams:
            await stream.write(b"\x0a")
        await settle(lambda: sum(stream.is_closed for stream in streams) == 2 * MAX_BITSWAP_STREAMS_PER_PEER)  # type: ignore[attr-defined]
        assert one.bitswap._inbound[talker.peer_id].streams == MAX_BITSWAP_STREAMS_PER_PEER
        for stream in streams:
            stream.reset()
        await settle(lambda: one.bitswap._inbound == {})
        await talker.say(Message(entries=[Entry(cid) for cid in cids(OURS)]))
        await settle(lambda: len(talker.got) == len(OURS))

    against(attack)


def test_messages_that_drip_hold_a_bounded_number_of_bytes() -> None:
    async def attack(one: Side, talker: Talker, honest: Side) -> None:
        sent = 0

        async def drip(stream: Stream) -> None:
            nonlocal sent
            await stream.write(varint.encode(MAX_MESSAGE_BYTES))
            with suppress(StreamClosed):  # it is not read for too long
                for _time in range(96):  # 3 MiB: the message never ends
                    await stream.write(bytes(32_768))
                    sent += 32_768
                    await trio.sleep(0.01)
                await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            for _ in range(MAX_BITSWAP_STREAMS_PER_PEER - 4):
                nursery.start_soon(drip, await talker.open())
            await trio.sleep(5)
            assert one.bitswap._inbound[talker.peer_id].large.value == 0
            await works(one, honest)
            assert sent < MAX_LARGE_MESSAGES_PER_PEER * MAX_MESSAGE_BYTES + 60 * (MIB // 2)
            nursery.cancel_scope.cancel()

    against(attack)


async def deaf(_stream: Stream) -> None:
    """A peer that takes a stream and reads nothing of it."""
    await trio.sleep_forever()


WAYS: dict[str, list[Entry]] = {
    "blocks": [Entry(cid) for cid in cids(blocks(200, 65_536, first=2000))],
    "presences": entries(0, 8_000, send_dont_have=True, want_have=True),
    "identities": [
        Entry(CID(1, RAW, multihash.of(b"%030d" % number, multihash.IDENTITY)), send_dont_have=True)
        for number in range(8_000)
    ],
}


@pytest.mark.parametrize("way", WAYS)
def test_peers_that_never_read_our_answers_block_no_one_and_are_cut_off(way: str) -> None:
    async def scenario() -> None:
        network = MemoryNetwork(default=NET)
        have = blocks(200, 65_536, first=2000)
        one, honest = Side(network, ONE, [*OURS, *have]), Side(network, TWO, THEIRS)
        talkers = [Talker(network, f"10.3.0.{number}") for number in range(1, 6)]
        opened: list[Stream] = []

        async def listen(stream: Stream) -> None:
            opened.append(stream)
            await deaf(stream)

        for talker in talkers:
            talker.stranger.handlers[V120] = listen
        async with exchanging(one, honest), talking(one, *talkers):
            await honest.connect(one)
            for _time in range(4):
                for talker in talkers:
                    await talker.say(Message(entries=WAYS[way]))
                await trio.sleep(0.2)
            assert len(opened) == 5
            await works(one, honest)
            assert trio.current_time() < WRITE_STALL_SECONDS
            ledger = one.bitswap._server._ledger
            for talker in talkers:
                peer = ledger._peers[talker.peer_id]
                assert len(peer.haves) + len(peer.dont_haves) <= 20_000
            await trio.sleep(2 * WRITE_STALL_SECONDS)
            assert all(stream.is_closed for stream in opened[:5])  # type: ignore[attr-defined]
            assert one.store.statistics().open_views == 0  # type: ignore[attr-defined]
            await works(one, honest)

    play(scenario)


def test_while_a_peer_reads_nothing_no_view_of_the_store_is_held_for_it() -> None:
    async def scenario() -> None:
        network = MemoryNetwork(default=NET)
        have = blocks(200, 65_536, first=2000)
        one, talker = Side(network, ONE, have), Talker(network, THREE)
        talker.stranger.handlers[V120] = deaf
        async with exchanging(one), talking(one, talker):
            await talker.say(Message(entries=WAYS["blocks"]))
            await settle(lambda: one.stats.peer_wants < 200)
            await trio.sleep(1)
            assert one.store.statistics().open_views == 0  # type: ignore[attr-defined]

    play(scenario)


# --- what is left -----------------------------------------------------------------------------------------------------
def sizes(side: Side) -> Sequence[int]:
    """Of everything that a peer could make grow."""
    client, server = side.bitswap._client, side.bitswap._server
    return [
        len(client._senders),
        len(client._waiters),
        len(client._searches),
        len(client._sessions),
        len(client._ingest._queue),
        len(client._ingest._fresh),
        client._ingest._held,
        len(server._out),
        len(server._ledger._peers),
        len(server._ledger._waiting),
        len(side.bitswap._inbound),
        side.stats.peers,
        side.stats.wants,
    ]


@pytest.mark.parametrize("delay", [0.0, 0.015, 0.1])
def test_peers_that_come_and_go_leave_nothing(delay: float) -> None:
    async def scenario() -> None:
        network, wanted = MemoryNetwork(default=NET), blocks(20, 30_000, first=3000)
        one, honest = Side(network, ONE, OURS), Side(network, TWO, THEIRS)
        async with exchanging(one, honest):
            for number, item in enumerate(wanted):
                talker = Talker(network, f"10.4.0.{number}")
                talker.serve([item])
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(one.fetch, [item.cid])
                    async with talking(one, talker):
                        await talker.say(Message(entries=[*(Entry(cid) for cid in cids(OURS)), *entries(0, 100)]))
                        await talker.give(blocks(1, first=4000))
                        await trio.sleep(delay)
                        await talker.connection.close()  # type: ignore[union-attr]
                    await settle(lambda: not one.swarm.connected())
                    nursery.cancel_scope.cancel()
                await trio.sleep(1)
                assert not any(sizes(one)), sizes(one)
            await works(one, honest)

    play(scenario)


def test_a_block_of_a_peer_that_has_gone_is_kept_and_accounted_for_but_the_peer_is_not() -> None:
    """It is stored after its connection closed."""

    async def scenario() -> None:
        network, item = MemoryNetwork(default=NET), block(700, 200_000)
        one, talker = Side(network, ONE), Talker(network, THREE)
        put = one.store.put_many

        def slow_put(*args, **options) -> None:  # type: ignore[no-untyped-def]
            one.swarm._pool.tell(talker.peer_id, connected=False)  # as if it closed just now
            put(*args, **options)

        async with exchanging(one), talking(one, talker):
            talker.serve([item])
            one.store.put_many = slow_put  # type: ignore[method-assign]
            assert await one.fetch([item.cid]) == data_of([item])
            assert one.bitswap._server._ledger._peers == {}
            assert one.bitswap.account(talker.peer_id).received == 200_000

    play(scenario)


def test_a_have_for_every_block_that_we_hold_is_bounded() -> None:
    async def scenario() -> None:
        have = blocks(6000, HAVE_REPLACE_BYTES + 1, first=10_000)
        network = MemoryNetwork(default=NET)
        one, talker = Side(network, ONE, have), Talker(network, THREE)
        talker.stranger.handlers[V120] = deaf
        async with exchanging(one), talking(one, talker):
            for _time in range(3):
                for at in range(0, len(have), 1000):
                    part = cids(have[at : at + 1000])
                    await talker.say(Message(entries=[Entry(cid, want_have=True) for cid in part]))
                    await trio.sleep(0.05)
            peer = one.bitswap._server._ledger._peers[talker.peer_id]
            assert len(peer.haves) <= MAX_PRESENCES_PER_MESSAGE

    play(scenario)
