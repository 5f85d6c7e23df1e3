"""The DHT over the network in memory."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import (
    KAD_IDLE_STREAMS,
    KAD_PROVIDE_SECONDS,
    KAD_REQUESTS_PER_PEER,
    KAD_RETRY_SECONDS,
    KAD_STREAM_IDLE_SECONDS,
)
from ipfs_kit_py.core.errors import InvalidRecord, NotFound, NotRunning, PeerUnreachable, StreamClosed
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.net.memory import MemoryNetwork
from ipfs_kit_py.routing.dht import Dht
from ipfs_kit_py.routing.kad_wire import KAD, KAD_LAN, Message, MessageType, PeerInfo
from ipfs_kit_py.routing.keys import kad_key
from test.net.dhts import Member, Server, asked, ips, routing, wall
from test.net.swarms import Stranger, in_memory, play, running, settle

if TYPE_CHECKING:
    from ipfs_kit_py.core.interfaces import Stream

KEY = CID.of(b"content").multihash


async def joined(members: list[Member], rng: random.Random | None = None) -> None:
    """Each but the first joins by one that is there already, or by another where that one is full."""
    rng = rng or random.Random(1)
    for number, member in enumerate(members[1:], 1):
        for other in rng.sample(members[:number], min(number, 5)):
            try:
                await member.join(other)
                break
            except StreamClosed:
                continue


def test_what_one_provides_all_find() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        members = [Member(network, ip) for ip in ips(30)]
        async with routing(*members):
            await joined(members)
            await members[3].dht.provide([KEY])
            for member in members:
                if member is not members[3]:
                    [found] = await member.providers(KEY)
                    assert (found.peer, found.addresses) == (members[3].peer_id, (members[3].address,))
            assert sum(len(member.dht._providers[member.side.side]) for member in members) >= 20

    play(scenario)


@pytest.mark.parametrize(("first", "protocol"), [("10.0", KAD_LAN), ("11.0", KAD)])
def test_each_address_has_its_dht(first: str, protocol: str) -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        members = [Member(network, ip) for ip in ips(3, first)]
        async with routing(*members):
            await joined(members)
            await members[0].dht.provide([KEY])
            assert next(found.source for found in await members[2].providers(KEY)) in (
                "dht",
                f"{members[2].side.side.name} dht",
            )
            other = members[0].dht.sides[not first.startswith("10.")]
            assert len(other.table) == 0
            assert members[0].side.side.protocol == protocol
            assert not other.server.statistics().answered

    play(scenario)


def test_a_client_asks_and_is_in_no_table() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        servers = [Member(network, ip) for ip in ips(3, "11.0")]
        client = Member(network, "11.9.9.9", server=False)
        assert client.dht.mode == "client"
        async with routing(*servers, client):
            await joined(servers)
            await client.join(servers[0])
            await servers[1].dht.provide([KEY])
            assert [found.peer for found in await client.providers(KEY)] == [servers[1].peer_id]
            await trio.sleep(100.0)
            assert all(client.peer_id not in server.table for server in servers)
            assert KAD not in client.swarm.protocols()

    play(scenario)


def test_a_key_that_nobody_provides_ends_with_nobody() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        members = [Member(network, ip) for ip in ips(5)]
        async with routing(*members):
            await joined(members)
            assert await members[0].providers(KEY) == []

    play(scenario)


def test_without_anybody_to_ask_it_says_so() -> None:
    async def scenario() -> None:
        member = Member(MemoryNetwork(), "10.0.0.1")
        with pytest.raises(NotRunning):
            await member.providers(KEY)
        async with routing(member):
            for call in (
                lambda: member.providers(KEY),
                lambda: member.dht.provide([KEY]),
                lambda: member.dht.closest_peers(KEY),
                lambda: member.dht.get_value(ipns.record_key(member.peer_id)),
            ):
                with pytest.raises(PeerUnreachable, match="DHT"):
                    await call()
            with pytest.raises(NotFound):
                await member.dht.find_peer(PrivateKey.generate().peer_id())

    play(scenario)


def test_a_search_that_is_left_early_asks_nobody_else() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        members = [Member(network, ip) for ip in ips(20)]
        async with routing(*members):
            await joined(members)
            for member in members[1:8]:
                await member.dht.provide([KEY])
            [_only] = await members[9].providers(KEY, count=1)
            await trio.sleep(60.0)
            before = [member.side.server.statistics().answered for member in members]
            await trio.sleep(60.0)
            assert before == [member.side.server.statistics().answered for member in members]

    play(scenario)


def test_requests_to_one_peer_share_a_stream_and_a_closed_one_is_made_anew() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, two = (Member(network, ip) for ip in ips(2))
        async with routing(one, two):
            await one.join(two)
            info = PeerInfo(two.peer_id, (two.address,))
            await trio.sleep(10.0)
            opened = one.side.rpc.statistics().opened
            for _ in range(10):
                await one.side.request(info, Message(MessageType.FIND_NODE, KEY))
            assert one.side.rpc.statistics().opened == opened
            await trio.sleep(KAD_STREAM_IDLE_SECONDS + 5)  # the other side has closed it
            await one.side.request(info, Message(MessageType.FIND_NODE, KEY))
            assert one.side.rpc.statistics().opened == opened + 1
            await two.swarm.disconnect(one.peer_id)
            await settle(lambda: not one.swarm.connected())
            await one.side.request(info, Message(MessageType.FIND_NODE, KEY))
            assert one.side.rpc.statistics().idle == 1 <= KAD_IDLE_STREAMS

    play(scenario)


def test_a_request_that_is_given_up_leaves_no_answer_for_the_next() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        member = Member(network, "10.0.0.1")
        slow = [False]

        def answer(request: Message) -> Message | None:
            return None if slow[0] else Message(request.type, request.key)

        server = Server(network, "10.0.0.2", answer)
        async with routing(member), trio.open_nursery() as nursery:
            await server.join(member, nursery)
            slow[0] = True
            with trio.move_on_after(1.0):
                await member.side.request(server.info, Message(MessageType.FIND_NODE, b"first"))
            slow[0] = False
            found = await member.side.request(server.info, Message(MessageType.FIND_NODE, b"second"))
            assert found.key == b"second"
            nursery.cancel_scope.cancel()

    play(scenario)


def test_a_server_becomes_a_client_and_serves_again() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, two = (Member(network, ip) for ip in ips(2, "11.0"))
        async with routing(one, two):
            await one.join(two)
            two.dht.set_mode("client")
            assert two.dht.mode == "client"
            await settle(lambda: two.peer_id not in one.table)
            two.dht.set_mode("server")
            await settle(lambda: two.peer_id in one.table)
            with pytest.raises(ValueError, match="auto"):
                two.dht.set_mode("auto")

    play(scenario)


def test_one_peer_gets_few_requests_at_once() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        member, under_way, most = Member(network, "10.0.0.1"), [0], [0]
        server = Server(network, "10.0.0.2", lambda request: Message(request.type, request.key))
        serve = server.stranger.handlers[KAD_LAN]

        async def counted(stream: Stream) -> None:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
            await trio.sleep(0.5)
            under_way[0] -= 1
            await serve(stream)

        async with routing(member), trio.open_nursery() as nursery:
            await server.join(member, nursery)
            member.side.rpc.close()
            server.stranger.handlers[KAD_LAN] = counted
            async with trio.open_nursery() as asking:
                for number in range(20):
                    message = Message(MessageType.FIND_NODE, b"%d" % number)
                    asking.start_soon(member.side.request, server.info, message)
            assert 1 < most[0] <= KAD_REQUESTS_PER_PEER
            assert len([request for request in server.heard if len(request.key) < 3]) == 20
            assert not member.side.rpc._turns
            nursery.cancel_scope.cancel()

    play(scenario)


def test_a_record_is_told_on_a_stream_that_nobody_has_closed() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, two = (Member(network, ip) for ip in ips(2))
        async with routing(one, two):
            await one.join(two)
            await one.side.request(PeerInfo(two.peer_id), Message(MessageType.FIND_NODE, KEY))
            await trio.sleep(KAD_STREAM_IDLE_SECONDS + 5)  # two has closed it
            assert await one.side.add_providers_to([PeerInfo(two.peer_id)], [KEY]) == 1
            await settle(lambda: len(two.dht._providers[two.side.side]) == 1)

    play(scenario)


def test_who_is_in_no_table_is_met_again() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, two = (Member(network, ip) for ip in ips(2))
        async with routing(one, two):
            await one.join(two)
            await trio.sleep(10.0)
            one.side.table.remove(two.peer_id)
            await trio.sleep(5.0)
            assert two.peer_id not in one.table
            await trio.sleep(2 * KAD_RETRY_SECONDS)
            assert two.peer_id in one.table

    play(scenario)


def test_the_closest_are_those_of_the_dht_that_answers() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, two = (Member(network, ip) for ip in ips(2))
        async with routing(one, two):
            await one.join(two)
            gone = PeerInfo(PrivateKey.generate().peer_id(), ("/ip4/11.9.9.9/tcp/1",))
            one.dht.sides[0].table.on_seen(gone.peer, gone.addresses, trio.current_time())
            assert [info.peer for info in await one.dht.closest_peers(KEY)] == [two.peer_id]
            assert (await one.dht.find_peer(one.peer_id)).addresses == (one.address,)

    play(scenario)


def test_many_keys_are_told_of_by_one_call() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, two, three = (Member(network, ip) for ip in ips(3))
        keys = [CID.of(b"%d" % number).multihash for number in range(50)]
        async with routing(one, two, three):
            await joined([one, two, three])
            await one.dht.provide(keys)
            for key in keys[::10]:
                assert [found.peer for found in await three.providers(key)] == [one.peer_id]

    play(scenario)


def test_a_table_forgets_who_stops_serving() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, two = (Member(network, ip) for ip in ips(2, "11.0"))
        async with routing(one), running(two.swarm), trio.open_nursery() as nursery:
            await nursery.start(two.dht.run)
            await one.join(two)
            two.swarm.remove_handler(KAD)
            await settle(lambda: two.peer_id not in one.table)
            nursery.cancel_scope.cancel()

    play(scenario)


def test_a_peer_that_is_gone_leaves_the_table_after_a_check() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, two, three = (Member(network, ip) for ip in ips(3))
        async with routing(one, three):
            async with routing(two):
                await one.join(two, three)
            await settle(lambda: two.peer_id not in one.swarm.connected())
            await settle(lambda: two.peer_id not in one.table, 3 * 3600.0)
            assert three.peer_id in one.table

    play(scenario)


def test_a_peer_is_found_by_those_who_know_it() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        members = [Member(network, ip) for ip in ips(25)]
        async with routing(*members):
            await joined(members)
            found = await members[24].dht.find_peer(members[3].peer_id)
            assert members[3].address in found.addresses

    play(scenario)


# --- values -----------------------------------------------------------------------------------------------------------


def record(key: PrivateKey, sequence: int) -> tuple[bytes, bytes]:
    """The DHT key of a name and a record of it."""
    return ipns.record_key(key.peer_id()), ipns.create(key, "/ipfs/bafkqaaa", sequence, wall())


def test_a_value_is_kept_by_the_closest_and_found_by_all() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        members = [Member(network, ip) for ip in ips(30)]
        async with routing(*members):
            await joined(members)
            name, value = record(PrivateKey.generate(), 1)
            await members[0].dht.put_value(name, value)
            for member in members[1:]:
                assert await member.dht.get_value(name) == value

    play(scenario)


def test_the_newest_value_wins_and_the_old_ones_are_mended() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        members = [Member(network, ip) for ip in ips(12)]
        async with routing(*members):
            await joined(members)
            key = PrivateKey.generate()
            name, old = record(key, 1)
            _name, new = record(key, 2)
            await members[0].dht.put_value(name, old)
            members[5].dht._values[members[5].side.side].put(name, new, members[5].peer_id, wall())
            assert await members[7].dht.get_value(name) == new
            await trio.sleep(10.0)
            have = [member.dht._values[member.side.side].get(name, wall()) for member in members]
            assert have.count(new) >= 11
            with pytest.raises(InvalidRecord, match="newer"):
                await members[5].dht.put_value(name, old)

    play(scenario)


@pytest.mark.parametrize("value", [b"", b"\x00" * 100, b"junk"])
def test_what_is_no_record_is_put_nowhere(value: bytes) -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, two = (Member(network, ip) for ip in ips(2))
        async with routing(one, two):
            await one.join(two)
            with pytest.raises(InvalidRecord):
                await one.dht.put_value(ipns.record_key(one.peer_id), value)
            with pytest.raises(InvalidRecord):
                await one.dht.put_value(b"/other/x", b"value")
            with pytest.raises(NotFound):
                await one.dht.get_value(ipns.record_key(one.peer_id))

    play(scenario)


# --- over restarts ----------------------------------------------------------------------------------------------------


class KeptInMemory:
    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def load(self, name: str) -> bytes | None:
        return self.kept.get(name)

    async def save(self, name: str, data: bytes) -> None:
        self.kept[name] = data


def test_tables_and_records_outlive_a_restart() -> None:
    async def scenario() -> None:
        network, keeper = MemoryNetwork(), KeptInMemory()
        members = [Member(network, ip) for ip in ips(5)]
        keeping = Member(network, "10.7.7.7", keeper=keeper)
        name, value = record(PrivateKey.generate(), 1)
        async with routing(*members):
            async with routing(keeping):
                await keeping.join(*members)
                await members[0].join(*members[1:], keeping)
                await members[0].dht.provide([KEY])
                await members[0].dht.put_value(name, value)
            swarm = in_memory(network, "10.7.7.7", key=keeping.swarm._key)
            again = Dht(swarm, clock=wall, keeper=keeper)
            async with running(swarm), trio.open_nursery() as nursery:
                await nursery.start(again.run)
                assert len(again.sides[1].table) == 5
                providers, values = again.statistics().providers[1], again.statistics().values[1]
                assert (providers.records, values.values) == (1, 1)
                nursery.cancel_scope.cancel()

    play(scenario)


def test_nothing_is_written_where_nothing_has_changed() -> None:
    async def scenario() -> None:
        network, keeper = MemoryNetwork(), KeptInMemory()
        async with routing(Member(network, "10.7.7.7", keeper=keeper)):
            pass
        assert not keeper.kept
        other, keeping = Member(network, "10.0.0.1"), Member(network, "10.7.7.8", keeper=keeper)
        async with routing(other, keeping):
            await keeping.join(other)
        assert set(keeper.kept) == {"lan/table"}
        keeper.kept["lan/providers"] = b"[0]"
        before = dict(keeper.kept)
        swarm = in_memory(network, "10.7.7.8", key=keeping.swarm._key)
        again = Dht(swarm, clock=wall, keeper=keeper)
        async with running(swarm), trio.open_nursery() as nursery:
            await nursery.start(again.run)
            assert len(again.sides[1].table) == 1
            nursery.cancel_scope.cancel()
        assert keeper.kept == before

    play(scenario)


@pytest.mark.parametrize("damage", [b"", b"{", b"5", b"[null, 5, {}, []]", b'[{"peer": 1}]', b"\xff", b'["x"]'])
def test_damaged_records_are_passed_over(damage: bytes) -> None:
    async def scenario() -> None:
        keeper = KeptInMemory()
        keeper.kept = {f"lan/{name}": damage for name in ("table", "providers", "values")}
        member = Member(MemoryNetwork(), "10.0.0.1", keeper=keeper)
        async with routing(member):
            assert len(member.table) == 0

    play(scenario)


def test_provider_records_end() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, two, three = (Member(network, ip) for ip in ips(3))
        async with routing(one, two, three):
            await joined([one, two, three])
            await one.dht.provide([KEY])
            assert await three.providers(KEY)
            await trio.sleep(KAD_PROVIDE_SECONDS + 1)
            assert await three.providers(KEY) == []

    play(scenario)


# --- many -------------------------------------------------------------------------------------------------------------


def acquaint(members: list[Member], rng: random.Random) -> None:
    """Fill all tables as those of a network are that has been up for a while: one's neighbours and some of the rest.
    That each gets there by itself is for smaller networks to show: it takes 20,000 handshakes here."""
    now = trio.current_time()
    for member in members:
        table = member.side.table
        others = [other for other in members if other is not member]
        near = sorted(others, key=lambda other: kad_key(other.peer_id.raw) ^ table.me_key)[:20]
        for other in [*near, *rng.sample(others, 40)]:
            table.on_seen(other.peer_id, [other.address], now)
        for target in (table.me_key, *(table.me_key ^ 1 << bit for bit in range(255, 235, -1))):
            table.on_lookup(target, now)


def keepers(members: list[Member], key: bytes) -> int:
    """How many of the 20 closest to a key have a record of who provides it."""
    nearest = sorted(members, key=lambda member: kad_key(member.peer_id.raw) ^ kad_key(key))[:20]
    return sum(bool(member.dht._providers[member.side.side].get(key, 0.0, random.Random(1))) for member in nearest)


def test_two_hundred_nodes_in_one_process() -> None:
    async def scenario() -> None:
        network, rng = MemoryNetwork(), random.Random(2)
        members = [Member(network, ip) for ip in ips(200)]
        async with routing(*members):
            acquaint(members, rng)
            for number in range(8):
                key, (provider, *seekers) = CID.of(bytes([number])).multihash, rng.sample(members, 4)
                await provider.dht.provide([key])
                await settle(lambda key=key: keepers(members, key) >= 18)
                for member in seekers:
                    assert [row.peer for row in await member.providers(key)] == [provider.peer_id]
            walks = [member.side.statistics() for member in members if member.side.statistics().lookups]
            assert sum(row.asked for row in walks) / sum(row.lookups for row in walks) < 60

    play(scenario)


def test_two_searches_do_not_hear_of_each_other() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        members = [Member(network, ip) for ip in ips(10)]
        other = CID.of(b"other").multihash
        async with routing(*members):
            await joined(members)
            await members[1].dht.provide([KEY])
            await members[2].dht.provide([other])
            found: dict[bytes, list[object]] = {}

            async def search(key: bytes) -> None:
                found[key] = [row.peer for row in await members[5].providers(key)]

            async with trio.open_nursery() as nursery:
                nursery.start_soon(search, KEY)
                nursery.start_soon(search, other)
            assert found == {KEY: [members[1].peer_id], other: [members[2].peer_id]}

    play(scenario)


def test_a_member_answers_a_stranger_as_the_specification_has_it() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        members = [Member(network, ip) for ip in ips(30)]
        stranger = Stranger(network, "10.5.5.5")
        async with routing(*members), trio.open_nursery() as nursery:
            await joined(members)
            await members[1].dht.provide([KEY])
            connection = await stranger.connect(members[0].address, nursery)
            ping, node, providers = await asked(
                connection,
                Message(MessageType.PING),
                Message(MessageType.FIND_NODE, members[4].peer_id.raw),
                Message(MessageType.GET_PROVIDERS, KEY),
            )
            assert ping == Message(MessageType.PING)
            assert len(node.closer) == 20
            assert (
                members[4].peer_id in {info.peer for info in node.closer} or members[4].peer_id not in members[0].table
            )
            assert all(info.addresses for info in node.closer)
            assert providers.key == KEY
            nursery.cancel_scope.cancel()

    play(scenario)
