"""Peers of the DHT that lie, flood, stall and garble: each finds a limit with a name, and others are served on."""

from __future__ import annotations

import random
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
import trio

from ipfs_kit_py.core.cid import CID, PeerID
from ipfs_kit_py.core.config import (
    KAD_ANSWER_ADDRESSES,
    KAD_ANSWER_PROVIDERS,
    KAD_ASK_SECONDS,
    KAD_K,
    KAD_KEY_BYTES,
    KAD_LOOKUP_ASKS,
    KAD_MAX_PROVIDERS,
    KAD_PROVIDER_KEY_BYTES,
    KAD_PROVIDER_RECORDS,
    KAD_PROVIDERS_PER_KEY,
    KAD_REQUEST_BYTES,
    KAD_SERVER_BURST,
    KAD_SERVER_RATE,
    KAD_STREAMS_PER_PEER,
    KAD_TABLE_ADDRESSES,
    KAD_VALUES_PER_PEER,
)
from ipfs_kit_py.core.errors import InvalidRecord, IPFSKitError, NotFound, ProtocolViolation, StreamClosed
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.net.memory import MemoryNetwork
from ipfs_kit_py.routing.kad_wire import KAD_LAN, Message, MessageType, PeerInfo, Record, encode
from ipfs_kit_py.routing.keys import kad_key
from ipfs_kit_py.routing.provider_store import ProviderStore
from ipfs_kit_py.routing.validators import Validators
from ipfs_kit_py.routing.value_store import ValueStore
from test.net.dhts import Member, Server, asked, ips, routing, wall
from test.net.swarms import Stranger, play, settle

if TYPE_CHECKING:
    from ipfs_kit_py.core.interfaces import Stream

KEY = CID.of(b"content").multihash
FIND = MessageType.FIND_NODE


def somebody(number: int) -> PeerID:
    """A peer id that nobody has."""
    return PeerID(b"\x12\x20" + number.to_bytes(32, "big"))


def info(number: int, ip: str = "10.66.0.1", addresses: int = 1) -> PeerInfo:
    return PeerInfo(somebody(number), tuple(f"/ip4/{ip}/tcp/{1024 + n}" for n in range(addresses)))


# --- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"\x08\x07",
        b"\xff" * 100,
        encode(Message(FIND)),
        encode(Message(MessageType.GET_PROVIDERS)),
        encode(Message(MessageType.GET_VALUE)),
        encode(Message(MessageType.PUT_VALUE, b"/pk/x")),
        encode(Message(MessageType.PUT_VALUE, b"/pk/x", Record(b"/pk/y", b"z"))),
        encode(Message(MessageType.ADD_PROVIDER, b"", providers=(info(1),))),
        encode(Message(MessageType.ADD_PROVIDER, b"x" * (KAD_PROVIDER_KEY_BYTES + 1), providers=(info(1),))),
        encode(Message(FIND, b"x" * (KAD_KEY_BYTES + 1))),
        encode(Message(FIND, KEY))[:-3],
    ],
)
def test_what_is_no_request_costs_its_stream_and_standing(request_: bytes) -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        member, stranger = Member(network, "10.0.0.1"), Stranger(network, "10.0.0.2")
        async with routing(member), trio.open_nursery() as nursery:
            connection = await stranger.connect(member.address, nursery)
            with pytest.raises(IPFSKitError):
                await asked(connection, request_)
            assert member.penalty(stranger.peer_id) > 0 or request_ in (b"",)
            [answer] = await asked(connection, Message(FIND, KEY))
            assert answer.key == KEY
            nursery.cancel_scope.cancel()

    play(scenario)


def test_a_message_that_is_too_long_is_not_read() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        member, stranger = Member(network, "10.0.0.1"), Stranger(network, "10.0.0.2")
        async with routing(member), trio.open_nursery() as nursery:
            connection = await stranger.connect(member.address, nursery)
            stream = await connection.open_stream([KAD_LAN])
            length = KAD_REQUEST_BYTES + 1
            await stream.write(
                bytes([length & 127 | 128, length >> 7 & 127 | 128, length >> 14 & 127 | 128, length >> 21])
            )
            with pytest.raises(StreamClosed):
                await stream.read_message(100)
            assert member.penalty(stranger.peer_id) > 0
            nursery.cancel_scope.cancel()

    play(scenario)


def test_streams_of_one_peer_are_few_and_an_idle_one_ends() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        member, stranger = Member(network, "10.0.0.1"), Stranger(network, "10.0.0.2")
        async with routing(member), trio.open_nursery() as nursery:
            connection = await stranger.connect(member.address, nursery)
            streams = [await connection.open_stream([KAD_LAN]) for _ in range(KAD_STREAMS_PER_PEER)]
            for stream in streams:
                await stream.write_message(encode(Message(MessageType.PING)))
                await stream.read_message(100)
            with pytest.raises(IPFSKitError):
                await asked(connection, Message(MessageType.PING))
            await trio.sleep(100.0)  # all of them were idle
            assert await asked(connection, Message(MessageType.PING))
            nursery.cancel_scope.cancel()

    play(scenario)


def test_who_asks_too_much_waits_and_others_do_not() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        member, greedy, other = (
            Member(network, "10.0.0.1"),
            Stranger(network, "10.0.0.2"),
            Stranger(network, "10.0.0.3"),
        )
        async with routing(member), trio.open_nursery() as nursery:
            connection = await greedy.connect(member.address, nursery)
            second = await other.connect(member.address, nursery)
            begun, count = trio.current_time(), int(KAD_SERVER_BURST) + 500
            done = trio.Event()

            async def ask() -> None:
                await asked(connection, *[Message(MessageType.PING)] * count)
                done.set()

            nursery.start_soon(ask)
            await trio.sleep(2.0)
            assert not done.is_set()
            before = trio.current_time()
            await asked(second, Message(MessageType.PING))
            assert trio.current_time() - before < 0.1
            await done.wait()
            assert trio.current_time() - begun >= 500 / KAD_SERVER_RATE - 0.1
            assert member.side.server.statistics().hurried >= 499
            nursery.cancel_scope.cancel()

    play(scenario)


def test_no_answer_is_much_larger_than_its_bounds_whatever_is_stored() -> None:
    """Amplification: a request of 40 bytes gets at most some 60 KiB, however much was stored for it."""

    async def scenario() -> None:
        network = MemoryNetwork()
        member, stranger = Member(network, "10.0.0.1"), Stranger(network, "10.0.0.2")
        store = member.dht._providers[member.side.side]
        async with routing(member), trio.open_nursery() as nursery:
            for number in range(KAD_PROVIDERS_PER_KEY + 100):
                told = info(number, addresses=KAD_TABLE_ADDRESSES)
                store.add(KEY, told.peer, told.addresses, trio.current_time())
            for number in range(200):
                told = info(number + 5000, f"10.{number}.0.1", addresses=KAD_TABLE_ADDRESSES)
                member.side.table.on_seen(told.peer, told.addresses, trio.current_time())
            connection = await stranger.connect(member.address, nursery)
            [answer] = await asked(connection, Message(MessageType.GET_PROVIDERS, KEY))
            assert len(answer.providers) == KAD_ANSWER_PROVIDERS
            assert len(answer.closer) == KAD_K
            assert all(len(row.addresses) <= KAD_ANSWER_ADDRESSES for row in (*answer.providers, *answer.closer))
            assert len(encode(answer)) < 64 << 10
            nursery.cancel_scope.cancel()

    play(scenario)


def test_nobody_is_told_addresses_that_are_of_no_use_to_it() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        member, far = Member(network, "11.0.0.1"), Stranger(network, "12.0.0.2")
        async with routing(member), trio.open_nursery() as nursery:
            now = trio.current_time()
            lan = member.dht.sides[1]
            lan.table.on_seen(somebody(1), ["/ip4/192.168.1.5/tcp/4001", "/ip4/127.0.0.1/tcp/4001"], now)
            member.dht._providers[lan.side].add(KEY, somebody(2), ["/ip4/10.0.0.9/tcp/1", "/ip4/127.0.0.1/tcp/1"], now)
            connection = await far.connect(member.address, nursery)
            answers = await asked(connection, Message(FIND, KEY), Message(MessageType.GET_PROVIDERS, KEY))
            assert not any(answer.closer or answer.providers for answer in answers)
            nursery.cancel_scope.cancel()

    play(scenario)


# --- records ----------------------------------------------------------------------------------------------------------


def test_nobody_provides_in_the_name_of_another() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        member, stranger = Member(network, "10.0.0.1"), Stranger(network, "10.0.0.2")
        async with routing(member), trio.open_nursery() as nursery:
            connection = await stranger.connect(member.address, nursery)
            own = PeerInfo(stranger.peer_id, ("/ip4/10.0.0.2/tcp/4001", "/ip4/127.0.0.1/tcp/1"))
            adding = Message(MessageType.ADD_PROVIDER, KEY, providers=(info(1), own, info(2)))
            stream = await connection.open_stream([KAD_LAN])
            await stream.write_message(encode(adding))
            [answer] = await asked(connection, Message(MessageType.GET_PROVIDERS, KEY))
            await settle(lambda: len(member.dht._providers[member.side.side]) == 1)
            [answer] = await asked(connection, Message(MessageType.GET_PROVIDERS, KEY))
            assert [row.peer for row in answer.providers] == [stranger.peer_id]
            assert answer.providers[0].addresses == ("/ip4/10.0.0.2/tcp/4001",)  # whoever is on another host
            assert member.side.server.statistics().refused == 2
            nursery.cancel_scope.cancel()

    play(scenario)


def test_a_flood_of_records_pushes_out_itself() -> None:
    store, rng = ProviderStore(records=1000, per_key=50), random.Random(1)
    modest = [PrivateKey.generate().peer_id() for _ in range(10)]
    for number, peer in enumerate(modest):
        for key in range(5):
            store.add(b"%d/%d" % (number, key), peer, ["/ip4/10.0.0.1/tcp/1"], 0.0)
    flooder = somebody(1)
    for number in range(20_000):
        store.add(b"flood %d" % number, flooder, ["/ip4/10.0.0.2/tcp/1"], float(number))
    assert len(store) <= 1000
    for number, peer in enumerate(modest):
        for key in range(5):
            assert [row.peer for row in store.get(b"%d/%d" % (number, key), 1.0, rng)] == [peer]
    assert store.get(b"flood 19999", 1.0, rng)


def test_records_by_peers_without_number_stay_within_their_bounds() -> None:
    store = ProviderStore(records=1000, per_key=50)
    for number in range(5000):
        store.add(b"key %d" % (number % 700), somebody(number), [f"/ip4/10.0.0.1/tcp/{1 + number}"] * 100, 0.0)
    found = store.statistics()
    assert found.records <= 1000
    assert found.peers <= 1000
    assert len(store._addresses) <= 1000
    for number in range(500):
        store.add(b"one key", somebody(number), [], 0.0)
    assert len(store.get(b"one key", 1.0, random.Random(1), 1000)) <= 50
    assert KAD_PROVIDER_RECORDS >= 1000


def signed(sequence: int, key: PrivateKey, now: float) -> bytes:
    return ipns.create(key, "/ipfs/bafkqaaa", sequence, now)


def test_replayed_forged_and_foreign_records_are_refused() -> None:
    store, now = ValueStore(Validators()), 1.8e9
    key, other, peer = PrivateKey.generate(), PrivateKey.generate(), somebody(1)
    name = ipns.record_key(key.peer_id())
    new, old = signed(5, key, now), signed(4, key, now)
    store.put(name, new, peer, now)
    for bad in (old, signed(9, other, now), new[:-1], new + b"\0", b"", signed(9, key, now - 10 * 86400.0)):
        with pytest.raises(InvalidRecord):
            store.put(name, bad, peer, now)
        assert store.get(name, now) == new
    with pytest.raises(InvalidRecord):
        store.put(b"/else/" + peer.raw, new, peer, now)
    assert store.get(name, now + 3 * 86400.0) is None
    assert store.statistics().refused == 7


def test_records_of_one_peer_push_out_its_own() -> None:
    now, kept = 1.8e9, PrivateKey.generate()
    store = ValueStore(Validators(), most=40, per_peer=10)
    store.put(ipns.record_key(kept.peer_id()), signed(1, kept, now), somebody(1), now)
    for _ in range(30):
        key = PrivateKey.generate()
        store.put(ipns.record_key(key.peer_id()), signed(1, key, now), somebody(2), now)
    assert len(store) == 11
    assert store.get(ipns.record_key(kept.peer_id()), now)
    for number in range(60):
        key = PrivateKey.generate()
        store.put(ipns.record_key(key.peer_id()), signed(1, key, now), somebody(number + 10), now)
    assert len(store) <= 40
    assert KAD_VALUES_PER_PEER > 10


def test_a_forged_record_at_every_peer_is_as_none() -> None:
    async def scenario() -> None:
        network, victim, liar_key = MemoryNetwork(), PrivateKey.generate(), PrivateKey.generate()
        name = ipns.record_key(victim.peer_id())

        def forge(request: Message) -> Message:
            return Message(request.type, request.key, record=Record(name, signed(99, liar_key, wall())))

        member = Member(network, "10.0.0.1")
        liars = [Server(network, ip, forge) for ip in ips(5, "10.1")]
        async with routing(member), trio.open_nursery() as nursery:
            for liar in liars:
                await liar.join(member, nursery)
            with pytest.raises(NotFound):
                await member.dht.get_value(name)
            nursery.cancel_scope.cancel()

    play(scenario)


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: b"",
        lambda request: b"\xff" * 50,
        lambda request: Message(MessageType.PING),
        lambda request: None,
        lambda request: encode(request)[:-1],
    ],
)
def test_answers_that_are_none_end_no_search(answer: object) -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, two = (Member(network, ip) for ip in ips(2))
        honest = [True]
        bad = Server(
            network, "10.3.0.1", lambda request: Message(request.type, request.key) if honest[0] else answer(request)
        )  # type: ignore[operator]
        async with routing(one, two), trio.open_nursery() as nursery:
            await one.join(two)
            await bad.join(one, nursery)
            await two.dht.provide([KEY])
            honest[0] = False
            with trio.fail_after(60.0):
                assert [found.peer for found in await one.providers(KEY)] == [two.peer_id]
            nursery.cancel_scope.cancel()

    play(scenario)


def test_a_flood_told_to_ourselves_does_not_hide_the_provider() -> None:
    """Whoever has many names tells us itself that all of them provide what we look for."""

    async def scenario() -> None:
        network = MemoryNetwork()
        one, two, three = (Member(network, ip) for ip in ips(3))
        async with routing(one, two, three):
            await one.join(two)
            await three.join(two)
            store = one.dht._providers[one.side.side]
            for number in range(KAD_PROVIDERS_PER_KEY):
                told = info(number)
                store.add(KEY, told.peer, told.addresses, trio.current_time())
            two.dht._providers[two.side.side].add(KEY, three.peer_id, [three.address], trio.current_time())
            assert three.peer_id in {row.peer for row in await one.providers(KEY, count=20)}

    play(scenario)


def test_who_never_answers_leaves_the_table() -> None:
    """A tar pit: it takes connections and streams, and says nothing."""

    async def scenario() -> None:
        network = MemoryNetwork()
        one, two = (Member(network, ip) for ip in ips(2))
        silent = [False]
        pit = Server(network, "10.3.0.1", lambda request: None if silent[0] else Message(request.type, request.key))
        async with routing(one, two), trio.open_nursery() as nursery:
            await one.join(two)
            await pit.join(one, nursery)
            await two.dht.provide([KEY])
            silent[0] = True
            with trio.fail_after(KAD_ASK_SECONDS):
                assert [found.peer for found in await one.providers(KEY)] == [two.peer_id]
            with trio.fail_after(2 * KAD_ASK_SECONDS):
                await settle(lambda: pit.peer_id not in one.table)
            nursery.cancel_scope.cancel()

    play(scenario)


async def never_reading(stream: Stream) -> None:
    while True:
        await stream.write_message(encode(Message(FIND, KEY)))


def test_answers_that_nobody_reads_end_their_stream() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        member, stranger = Member(network, "10.0.0.1"), Stranger(network, "10.0.0.2")
        async with routing(member), trio.open_nursery() as nursery:
            for number in range(200):
                told = info(number + 5000, f"10.{number}.0.1", addresses=KAD_TABLE_ADDRESSES)
                member.side.table.on_seen(told.peer, told.addresses, trio.current_time())
            connection = await stranger.connect(member.address, nursery)
            stream = await connection.open_stream([KAD_LAN])

            with pytest.raises(StreamClosed), trio.fail_after(300.0):
                await never_reading(stream)
            paces = member.side.server._paces
            await settle(lambda: stranger.peer_id not in paces or not paces[stranger.peer_id].streams, 300.0)
            nursery.cancel_scope.cancel()

    play(scenario)


def test_one_liar_neither_fills_a_search_nor_ends_it() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        members = [Member(network, ip) for ip in ips(6)]
        false = tuple(info(number, f"10.77.{number % 250}.1") for number in range(KAD_MAX_PROVIDERS + 500))

        def lie(request: Message) -> Message:
            return Message(request.type, request.key, closer=false[:KAD_K], providers=false)

        liar = Server(network, "10.3.0.1", lie)
        async with routing(*members), trio.open_nursery() as nursery:
            for member in members[1:]:
                await members[0].join(member)
            await liar.join(members[0], nursery)
            for member in members[1:5]:
                await member.dht.provide([KEY])
            found = await members[0].providers(KEY, count=20)
            true = {member.peer_id for member in members[1:5]}
            assert true <= {row.peer for row in found}
            async with aclosing(members[0].dht.find_providers(KEY, count=20)) as rows:
                first = [await anext(rows) for _ in range(11)]
            assert true & {row.peer for row in first}
            nursery.cancel_scope.cancel()

    play(scenario)


def test_an_echo_of_the_asker_and_of_itself_leads_nowhere() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        member = Member(network, "10.0.0.1")

        def echo(request: Message) -> Message:
            me = PeerInfo(member.peer_id, (member.address,))
            return Message(request.type, request.key, closer=(me, server.info), providers=(me, me))

        server = Server(network, "10.0.0.2", echo)
        async with routing(member), trio.open_nursery() as nursery:
            await server.join(member, nursery)
            assert await member.providers(KEY) == []
            assert [request.type for request in server.heard].count(MessageType.GET_PROVIDERS) == 1
            nursery.cancel_scope.cancel()

    play(scenario)


def test_ten_thousand_poisoned_addresses_are_hardly_dialled() -> None:
    async def scenario() -> None:
        network, rng = MemoryNetwork(), random.Random(4)
        member = Member(network, "10.0.0.1")
        number = [0]

        def poison(request: Message) -> Message:
            number[0] += 1
            rows = (PeerInfo(somebody(rng.getrandbits(200)), tuple(made_up() for _ in range(10))) for _ in range(60))
            return Message(request.type, request.key, closer=tuple(rows))

        def made_up() -> str:
            return f"/ip4/10.{rng.randrange(256)}.{rng.randrange(256)}.9/tcp/{rng.randrange(1, 65536)}"

        liars = [Server(network, ip, poison) for ip in ips(20, "10.9")]
        async with routing(member), trio.open_nursery() as nursery:
            for liar in liars:
                await liar.join(member, nursery)
            await trio.sleep(120.0)  # the table's own lookups, that are begun as each joins, are over: one is measured
            before = len(network.dials)
            with trio.fail_after(600.0):
                await member.providers(KEY)
            assert number[0] * 600 >= 10_000
            assert len(network.dials) - before < 2 * KAD_LOOKUP_ASKS
            assert all(liar.peer_id in member.table for liar in liars)
            assert len(member.table) == len(liars)
            nursery.cancel_scope.cancel()

    play(scenario)


def test_loopback_and_link_addresses_from_afar_are_not_dialled() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        member = Member(network, "10.0.0.1")
        doors = ("/ip4/127.0.0.1/tcp/22", "/ip4/169.254.169.254/tcp/80", "/ip4/0.0.0.0/tcp/80", "/ip4/11.0.0.9/tcp/80")

        def lure(request: Message) -> Message:
            return Message(request.type, request.key, closer=(PeerInfo(somebody(3), doors),))

        server = Server(network, "10.0.0.2", lure)
        async with routing(member), trio.open_nursery() as nursery:
            await server.join(member, nursery)
            before = len(network.dials)
            await member.providers(KEY)
            assert not {address for _at, address in network.dials[before:]} & set(doors)
            nursery.cancel_scope.cancel()

    play(scenario)


def test_a_key_that_is_surrounded_from_one_network_is_still_found() -> None:
    """Eclipse: 25 made-up peers, all closer to the key than anybody honest, know of each other alone."""

    async def scenario() -> None:
        network, rng = MemoryNetwork(), random.Random(6)
        members = [Member(network, f"11.{number}.0.1") for number in range(16)]
        target = kad_key(KEY)
        keys = sorted((PrivateKey.generate() for _ in range(400)), key=lambda key: kad_key(key.peer_id().raw) ^ target)
        liars: list[Server] = []

        def surround(request: Message) -> Message:
            return Message(request.type, request.key, closer=tuple(liar.info for liar in liars[:KAD_K]))

        for number, key in enumerate(keys[:25]):
            liar = Server(network, f"13.13.1.{number + 1}", surround, "/ipfs/kad/1.0.0")
            liar.stranger.key, liar.stranger.peer_id = key, key.peer_id()
            liars.append(liar)
        async with routing(*members), trio.open_nursery() as nursery:
            for number, member in enumerate(members[1:], 1):
                await member.join(members[rng.randrange(number)])
            for member in members:
                for liar in liars:
                    member.side.table.on_seen(liar.peer_id, liar.info.addresses, trio.current_time())
            await members[7].dht.provide([KEY])
            found = 0
            for member in rng.sample([one for one in members if one is not members[7]], 10):
                found += members[7].peer_id in {row.peer for row in await member.providers(KEY)}
            assert found == 10
            nursery.cancel_scope.cancel()

    play(scenario)


def test_a_malformed_answer_costs_standing() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        member = Member(network, "10.0.0.1")
        answers: list[Message | bytes] = [Message(FIND, KEY), b"\xff\xff\xff"]
        server = Server(network, "10.0.0.2", lambda _request: answers.pop(0) if len(answers) > 1 else answers[0])
        async with routing(member), trio.open_nursery() as nursery:
            await server.join(member, nursery)
            with pytest.raises(ProtocolViolation):
                await member.side.request(server.info, Message(FIND, KEY))
            assert member.penalty(server.peer_id) > 0
            nursery.cancel_scope.cancel()

    play(scenario)
