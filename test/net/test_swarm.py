from __future__ import annotations

import gc
import logging
import os
import warnings
from typing import TYPE_CHECKING

import psutil
import pytest
import trio

from ipfs_kit_py.core.config import (
    ACCEPT_PAUSE_SECONDS,
    BACKOFF_BASE_SECONDS,
    MAX_CONNECTIONS_PER_PEER,
    STANDING_REFUSE_SECONDS,
    STANDING_THRESHOLD,
    NodeConfig,
)
from ipfs_kit_py.core.errors import InvalidAddress, NotRunning, NotSupported, PeerUnreachable, ProtocolViolation
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.net.dial_plan import Provenance
from ipfs_kit_py.net.memory import Link, MemoryNetwork
from ipfs_kit_py.net.swarm import Swarm
from test.net.swarms import Stranger, echo, echoed, in_memory, play, running, settle

if TYPE_CHECKING:
    from pathlib import Path

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import Network, Stream

ONE, TWO, THREE = "10.0.0.1", "10.0.0.2", "10.0.0.3"


def two(**settings: object) -> tuple[MemoryNetwork, Swarm, Swarm]:
    network = MemoryNetwork()
    one, other = in_memory(network, ONE, **settings), in_memory(network, TWO)
    other.set_handler("/echo/1", echo)
    return network, one, other


# --- connecting -------------------------------------------------------------------------------------------------------
def test_peers_connect_and_open_streams_both_ways() -> None:
    async def scenario() -> None:
        _network, one, other = two()
        one.set_handler("/echo/1", echo)
        async with running(one, other):
            network: Network = one
            connection = await network.connect(other.peer_id, other.addresses())
            assert connection.peer_id == other.peer_id
            assert await network.connect(other.peer_id) is connection
            assert await echoed(one, other)
            assert await echoed(other, one)
            assert set(one.connected()) == {other.peer_id}
            assert one.is_local(other.peer_id)
            await settle(lambda: one.rtt(other.peer_id) is not None)
            assert one.statistics().outbound == other.statistics().inbound == 1
            assert "1 connections to 1 peers" in repr(one)
            assert one.protocols() == ["/echo/1", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0"]
        assert "not running" in repr(one)

    play(scenario)


def test_an_unknown_protocol_is_not_supported_and_costs_nothing_else() -> None:
    async def scenario() -> None:
        _network, one, other = two()
        async with running(one, other):
            await one.connect(other.peer_id, other.addresses())
            with pytest.raises(NotSupported):
                await one.open_stream(other.peer_id, ["/none/1"])
            stream = await one.open_stream(other.peer_id, ["/none/1", "/echo/1"])
            assert stream.protocol == "/echo/1"
            other.remove_handler("/echo/1")
            assert one.statistics().connections == 1

    play(scenario)


def test_a_known_protocol_costs_no_round_trip() -> None:
    async def scenario() -> None:
        network, one, other = two()
        network.link(ONE, TWO, Link(latency=0.1))
        async with running(one, other):
            await one.connect(other.peer_id, other.addresses())
            await settle(lambda: "/echo/1" in one.protocols_of(other.peer_id))
            start = trio.current_time()
            assert await echoed(one, other)
            assert trio.current_time() - start == pytest.approx(0.2)

    play(scenario)


def test_simultaneous_connects_share_one_attempt_and_give_one_connection() -> None:
    async def scenario() -> None:
        network, one, other = two()
        network.link(ONE, TWO, Link(latency=0.05))
        found = []
        async with running(one, other):

            async def want() -> None:
                found.append(await one.connect(other.peer_id, other.addresses()))

            async with trio.open_nursery() as nursery:
                for _caller in range(20):
                    nursery.start_soon(want)
            assert len(set(map(id, found))) == 1
            assert one.statistics().opened == 1
            assert len(network.dials) == 1

    play(scenario)


def test_of_two_connections_made_at_once_one_is_kept_and_no_stream_is_lost() -> None:
    async def scenario() -> None:
        network, one, other = two()
        network.link(ONE, TWO, Link(latency=0.05))
        one.set_handler("/echo/1", echo)
        async with running(one, other):
            open_streams: list[Stream] = []

            async def dial_and_open(a: Swarm, b: Swarm) -> None:
                await a.connect(b.peer_id, b.addresses())
                for _stream in range(5):
                    open_streams.append(await a.open_stream(b.peer_id, ["/echo/1"]))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(dial_and_open, one, other)
                nursery.start_soon(dial_and_open, other, one)
            await settle(lambda: one.statistics().connections == 2 == other.statistics().connections)
            await trio.sleep(10)
            for stream in open_streams:
                await stream.write(b"still here")
                await stream.close_write()
                assert await stream.read() == b"still here"
            await trio.sleep(60)
            assert one.statistics().connections == other.statistics().connections == 1
            kept = {one.connections()[0].local_address, one.connections()[0].remote_address}
            assert {other.connections()[0].local_address, other.connections()[0].remote_address} == kept
            assert await echoed(one, other)
            assert await echoed(other, one)

    play(scenario)


def test_one_peer_has_a_bounded_number_of_connections() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, stranger = in_memory(network, ONE), Stranger(network, TWO)
        async with running(one), trio.open_nursery() as nursery:
            for _connection in range(3 * MAX_CONNECTIONS_PER_PEER):
                await stranger.connect(one.addresses()[0], nursery)
            await settle(lambda: one.statistics().connections <= MAX_CONNECTIONS_PER_PEER)
            nursery.cancel_scope.cancel()

    play(scenario)


def test_another_peer_at_the_address_is_a_typed_error() -> None:
    async def scenario() -> None:
        _network, one, other = two()
        absent = PrivateKey.generate().peer_id()
        async with running(one, other):
            with pytest.raises(ProtocolViolation, match=str(other.peer_id)):
                await one.connect(absent, other.addresses())
            assert one.connected() == set()

    play(scenario)


def test_this_node_itself_is_not_dialled() -> None:
    async def scenario() -> None:
        network, one, other = two()
        async with running(one, other):
            with pytest.raises(InvalidAddress, match="itself"):
                await one.connect(one.peer_id, one.addresses())
            with pytest.raises(PeerUnreachable, match="own address"):
                await one.connect(other.peer_id, one.addresses())
            with pytest.raises(InvalidAddress, match="not of"):
                await one.connect(other.peer_id, [f"{other.addresses()[0]}/p2p/{one.peer_id}"])
            assert network.dials == []

    play(scenario)


def test_nothing_works_before_or_after_it_runs() -> None:
    async def scenario() -> None:
        _network, one, other = two()
        with pytest.raises(NotRunning):
            await one.connect(other.peer_id)
        async with running(one):
            pass
        with pytest.raises(NotRunning):
            await one.open_stream(other.peer_id, ["/echo/1"])

    play(scenario)


# --- dead peers -------------------------------------------------------------------------------------------------------
def test_a_dead_peer_backs_off_but_a_new_address_is_tried_at_once() -> None:
    async def scenario() -> None:
        network, one, other = two()
        dead = f"/ip4/{THREE}/tcp/1"
        async with running(one, other):
            for _time in range(3):
                with pytest.raises(PeerUnreachable):
                    await one.connect(other.peer_id, [dead])
            assert len(network.dials) == 1
            assert one.statistics().backed_off == 1
            with pytest.raises(PeerUnreachable):
                await one.connect(other.peer_id, [dead], force=True)
            assert len(network.dials) == 2
            await one.connect(other.peer_id, other.addresses())
            assert one.statistics().backed_off == 0
            await one.disconnect(other.peer_id)
            await settle(lambda: not one.connected())
            await one.connect(other.peer_id)

    play(scenario)


def test_after_the_backoff_the_peer_is_tried_again() -> None:
    async def scenario() -> None:
        network, one, other = two()
        async with running(one):
            address = f"/ip4/{TWO}/tcp/4001"
            with pytest.raises(PeerUnreachable, match="refused"):
                await one.connect(other.peer_id, [address])
            async with running(other):
                with pytest.raises(PeerUnreachable, match="tried again in"):
                    await one.connect(other.peer_id, [address])
                await trio.sleep(BACKOFF_BASE_SECONDS)
                await one.connect(other.peer_id, [address])
            assert len(network.dials) == 2

    play(scenario)


def test_a_stream_to_a_peer_whose_connection_broke_gets_a_new_one() -> None:
    async def scenario() -> None:
        network, one, other = two()
        async with running(one, other):
            await one.connect(other.peer_id, other.addresses())
            network.reset(ONE, TWO)
            assert await echoed(one, other)
            assert one.statistics().opened == 2

    play(scenario)


def test_a_connection_whose_peer_said_goodbye_takes_no_new_streams() -> None:
    async def scenario() -> None:
        _network, one, other = two()
        stop = trio.Event()

        async def linger(stream: Stream) -> None:
            await stop.wait()
            await stream.write(b"late")
            await stream.close()

        other.set_handler("/linger/1", linger)
        async with running(one, other):
            await one.connect(other.peer_id, other.addresses())
            old = await one.open_stream(other.peer_id, ["/linger/1"])
            await old.write(b"x")
            await settle(lambda: other.statistics().streams > 0)
            other.connections()[0].engine.go_away(0)
            other.connections()[0].wake_writer()
            await settle(lambda: one.connections()[0].is_closing)
            assert await echoed(one, other)
            assert one.statistics().opened == 2
            stop.set()
            assert await old.read() == b"late"

    play(scenario)


def test_a_link_that_went_dead_is_noticed() -> None:
    async def scenario() -> None:
        network, one, other = two()
        async with running(one, other):
            await one.connect(other.peer_id, other.addresses())
            network.link(ONE, TWO).cut = True
            await settle(lambda: not one.connected() and not other.connected(), 120)

    play(scenario)


# --- who is told ------------------------------------------------------------------------------------------------------
def test_listeners_hear_of_first_and_last_connections_whatever_another_listener_does() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, stranger = in_memory(network, ONE), Stranger(network, TWO)
        heard: list[tuple[str, PeerID]] = []

        def broken(_peer: PeerID) -> None:
            raise RuntimeError("a defect in a service")

        one.on_change(broken, broken)
        end = one.on_change(lambda peer: heard.append(("came", peer)), lambda peer: heard.append(("went", peer)))
        async with running(one), trio.open_nursery() as nursery:
            first = await stranger.connect(one.addresses()[0], nursery)
            second = await stranger.connect(one.addresses()[0], nursery)
            await settle(lambda: one.statistics().connections == 2)
            await first.close()
            await settle(lambda: one.statistics().connections == 1)
            assert heard == [("came", stranger.peer_id)]
            await second.close()
            await settle(lambda: not one.connected())
            assert heard == [("came", stranger.peer_id), ("went", stranger.peer_id)]
            end()
            third = await stranger.connect(one.addresses()[0], nursery)
            await settle(lambda: len(one.connected()) == 1)
            assert len(heard) == 2
            await third.close()

    play(scenario)


# --- gate and standing ------------------------------------------------------------------------------------------------
def test_a_denied_network_is_refused_before_any_byte_and_a_denied_peer_after_the_handshake() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        stranger, other = Stranger(network, TWO), Stranger(network, THREE)
        one = in_memory(network, ONE, deny=(f"{TWO}/32", str(other.peer_id)))
        async with running(one), trio.open_nursery() as nursery:
            raw = await stranger.transport.dial(one.addresses()[0])
            assert await raw.receive_into(memoryview(bytearray(10))) == 0
            assert trio.current_time() < 0.1
            connection = await other.connect(one.addresses()[0], nursery)
            await connection.wait_closed()
            assert one.statistics().accepted == 0
            for peer, address in ((stranger.peer_id, f"/ip4/{TWO}/tcp/1"), (other.peer_id, "/ip4/10.0.0.9/tcp/1")):
                with pytest.raises(PeerUnreachable, match="refused by the configuration"):
                    await one.connect(peer, [address])
        assert len(network.dials) == 2  # the strangers' own

    play(scenario)


def test_only_allowed_peers_get_in() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        friend, other = Stranger(network, TWO), Stranger(network, THREE)
        one = in_memory(network, ONE, allow=(str(friend.peer_id),))
        async with running(one), trio.open_nursery() as nursery:
            await (await other.connect(one.addresses()[0], nursery)).wait_closed()
            await friend.connect(one.addresses()[0], nursery)
            await settle(lambda: set(one.connected()) == {friend.peer_id})
            nursery.cancel_scope.cancel()

    play(scenario)


def test_a_peer_that_misbehaves_is_cut_off_and_refused_for_a_while() -> None:
    async def scenario() -> None:
        _network, one, other = two()
        async with running(one, other):
            await one.connect(other.peer_id, other.addresses())
            for _block in range(int(STANDING_THRESHOLD) - 1):
                one.penalise(other.peer_id, 1.0, "a false block")
            assert await echoed(one, other)
            one.penalise(other.peer_id, 1.0, "a false block")
            await settle(lambda: not one.connected())
            with pytest.raises(PeerUnreachable, match="misbehaved"):
                await one.connect(other.peer_id, other.addresses())
            await other.connect(one.peer_id, one.addresses())
            await settle(lambda: not other.connected())
            assert one.statistics().refused_peers == 1
            await trio.sleep(STANDING_REFUSE_SECONDS)
            await one.connect(other.peer_id, other.addresses())

    play(scenario)


# --- limits -----------------------------------------------------------------------------------------------------------
def test_above_the_high_mark_the_least_valuable_connections_are_closed() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one = in_memory(network, ONE, low_water=4, high_water=8, grace=10.0)
        strangers = [Stranger(network, f"10.0.1.{number}") for number in range(9)]
        async with running(one), trio.open_nursery() as nursery:
            for stranger in strangers:
                await stranger.connect(one.addresses()[0], nursery)
            one.protect(strangers[0].peer_id, "test")
            one.add_value(strangers[1].peer_id, 1e6)
            await trio.sleep(9.5)
            assert one.statistics().connections == 9
            await trio.sleep(1)
            assert one.statistics().connections == 4
            assert one.statistics().trimmed == 5
            assert {strangers[0].peer_id, strangers[1].peer_id} < set(one.connected())
            assert not one.unprotect(strangers[0].peer_id, "test")
            nursery.cancel_scope.cancel()

    play(scenario)


def test_far_above_the_high_mark_inbound_connections_are_refused_and_our_own_are_not() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, other = in_memory(network, ONE, low_water=1, high_water=4, grace=1000.0), in_memory(network, TWO)
        async with running(one, other), trio.open_nursery() as nursery:
            for number in range(8):
                await Stranger(network, f"10.0.1.{number}").connect(one.addresses()[0], nursery)
            raw = await network.transport(THREE).dial(one.addresses()[0])
            assert await raw.receive_into(memoryview(bytearray(1))) == 0
            assert one.statistics().connections == 8
            await one.connect(other.peer_id, other.addresses())
            nursery.cancel_scope.cancel()

    play(scenario)


# --- listening --------------------------------------------------------------------------------------------------------
def test_listening_resolves_ports_expands_wildcards_and_skips_quic_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    listen = (
        "/ip4/0.0.0.0/tcp/0",
        "/ip6/::1/tcp/0",
        "/ip4/0.0.0.0/udp/0/quic-v1",
        "/ip6/::/udp/0/quic-v1/webtransport",
    )
    one = Swarm(PrivateKey.generate(), NodeConfig(listen=listen))

    async def scenario() -> None:
        async with running(one):
            bound = one.listen_addresses()
            assert len(bound) == 2
            assert not any(text.endswith("/tcp/0") for text in bound)
            port = bound[0].rsplit("/", 1)[1]
            assert f"/ip4/127.0.0.1/tcp/{port}" in one.addresses()
            assert not any("0.0.0.0" in text for text in one.addresses())
            other = Swarm(PrivateKey.generate(), NodeConfig(listen=()))
            async with running(other):
                for text in (bound[1], f"/ip4/127.0.0.1/tcp/{port}"):
                    connection = await other.connect(one.peer_id, [text])
                    assert connection.remote_address == text
                    await other.disconnect(one.peer_id)

    with caplog.at_level(logging.WARNING):
        trio.run(scenario)
    assert len([row for row in caplog.records if "QUIC" in row.message]) == 1


def test_what_is_announced_takes_the_place_of_what_is_bound() -> None:
    async def scenario() -> None:
        one = in_memory(MemoryNetwork(), ONE, announce=("/dns4/example.org/tcp/4001",))
        async with running(one):
            assert one.addresses() == ["/dns4/example.org/tcp/4001"]
            assert one.listen_addresses() == [f"/ip4/{ONE}/tcp/4001"]

    play(scenario)


@pytest.mark.parametrize(
    ("listen", "advice"),
    [
        (("/ip4/192.0.2.77/tcp/0",), "address of this machine"),
        (("/dns4/example.org/tcp/1",), "give a TCP address"),
        (("/ip4/127.0.0.1/udp/1",), "give a TCP address"),
        (("nonsense",), "it looks like"),
    ],
)
def test_an_address_that_cannot_be_listened_on_says_what_to_do(listen: tuple[str, ...], advice: str) -> None:
    with pytest.raises(InvalidAddress, match=advice):
        trio.run(Swarm(PrivateKey.generate(), NodeConfig(listen=listen)).run)


def test_a_port_that_is_taken_says_so_and_leaves_nothing_open() -> None:
    async def scenario() -> None:
        one = Swarm(PrivateKey.generate())
        async with running(one):
            other = Swarm(PrivateKey.generate(), NodeConfig(listen=("/ip4/127.0.0.1/tcp/0", *one.listen_addresses())))
            with pytest.raises(InvalidAddress, match="choose a free port"):
                await other.run()
            assert other.listen_addresses() == []

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trio.run(scenario)
        gc.collect()


def test_when_the_node_ends_its_peers_hear_of_it_at_once() -> None:
    async def scenario() -> None:
        _network, one, other = two()
        async with running(other):
            async with running(one):
                await one.connect(other.peer_id, other.addresses())
                await settle(lambda: len(other.connected()) == 1)
                before = trio.current_time()
            await settle(lambda: not other.connected())
            assert trio.current_time() - before < ACCEPT_PAUSE_SECONDS

    play(scenario)


# --- over restarts ----------------------------------------------------------------------------------------------------
def test_known_peers_survive_a_restart_and_are_dialled_by_their_id_alone(tmp_path: Path) -> None:
    key = PrivateKey.generate()
    config = NodeConfig(repo=tmp_path)

    async def scenario() -> None:
        other = Swarm(PrivateKey.generate())
        other.set_handler("/echo/1", echo)
        heard_of = PrivateKey.generate().peer_id()
        async with running(other):
            first = Swarm(key, config)
            async with running(first):
                await first.connect(other.peer_id, other.addresses())
                first.add_addresses(heard_of, ["/ip4/8.8.8.8/tcp/1"])
            second = Swarm(key, config)
            async with running(second):
                assert await echoed(second, other)
                assert [row.provenance for row in second.addresses_of(heard_of)] == [Provenance.HEARSAY]

    trio.run(scenario)
    assert (tmp_path / "peers.sqlite").stat().st_size > 0


def test_a_damaged_address_book_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "peers.sqlite"
    path.write_bytes(os.urandom(8192))

    async def scenario() -> None:
        async with running(Swarm(PrivateKey.generate(), NodeConfig(repo=tmp_path))):
            pass

    trio.run(scenario)
    assert "damaged" in caplog.text
    assert path.with_name("peers.sqlite.damaged").exists()
    assert path.read_bytes().startswith(b"SQLite format 3")


# --- slots come back --------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_two_thousand_cycles_leave_nothing_behind() -> None:
    async def scenario() -> None:
        server = Swarm(PrivateKey.generate())
        client = Swarm(PrivateKey.generate(), NodeConfig(listen=()))
        async with running(server, client):
            address = server.addresses()

            async def cycle() -> None:
                await client.connect(server.peer_id, address)
                await client.disconnect(server.peer_id)
                while client.connected():
                    await trio.sleep(0)

            for _warming in range(20):
                await cycle()
            await settle(lambda: not server.connected())
            tasks, files = trio.lowlevel.current_statistics().tasks_living, psutil.Process().num_fds()
            for _cycle in range(2000):
                await cycle()
            await settle(lambda: not server.connected())
            await settle(lambda: trio.lowlevel.current_statistics().tasks_living <= tasks)
            assert psutil.Process().num_fds() <= files
            for swarm in (server, client):
                found = swarm.statistics()
                assert (found.peers, found.connections, found.unauthenticated, found.attempts) == (0, 0, 0, 0)
                assert (found.dialling, found.backed_off, found.refused_peers) == (0, 0, 0)
            assert server.statistics().accepted == 2020
            assert await client.connect(server.peer_id, address)

    trio.run(scenario)
