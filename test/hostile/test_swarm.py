"""What strangers do to a node that listens: none of it ends the node, or reaches another peer."""

from __future__ import annotations

import errno
import logging
import random
from typing import TYPE_CHECKING

import pytest
import trio

from ipfs_kit_py.core.config import (
    ACCEPT_PAUSE_SECONDS,
    HANDSHAKE_SECONDS,
    IDENTIFY_MAX_MESSAGES,
    IDENTIFY_PROTOCOL_BYTES,
    MAX_UNAUTHENTICATED,
    MAX_UNAUTHENTICATED_PER_IP,
)
from ipfs_kit_py.core.errors import StreamClosed
from ipfs_kit_py.crypto.envelope import seal_peer_record
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.net.addresses import to_bytes
from ipfs_kit_py.net.identify import IDENTIFY, IDENTIFY_PUSH, Identity, encode
from ipfs_kit_py.net.memory import MemoryListener, MemoryNetwork, MemoryStream, MemoryTransport
from ipfs_kit_py.net.transports import NO_ROOM
from test.net.swarms import Stranger, echo, echoed, in_memory, play, running, settle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipfs_kit_py.core.interfaces import Stream
    from ipfs_kit_py.net.swarm import Swarm

ONE, TWO = "10.0.0.1", "10.0.0.2"
ADDRESS = f"/ip4/{ONE}/tcp/4001"


async def works(network: MemoryNetwork, one: Swarm, ip: str = "10.9.9.9") -> None:
    """A well-behaved peer gets in and is served."""
    friend = in_memory(network, ip)
    one.set_handler("/echo/1", echo)
    async with running(friend):
        await friend.connect(one.peer_id, [ADDRESS])
        assert await echoed(friend, one)


def test_a_flood_of_silent_connections_does_not_keep_a_talker_out() -> None:
    async def scenario() -> None:
        network = MemoryNetwork(backlog=10_000)
        one = in_memory(network, ONE)
        async with running(one):
            flood = [
                await network.transport(f"10.1.{number // 250}.{number % 250}").dial(ADDRESS)
                for number in range(3 * MAX_UNAUTHENTICATED)
            ]
            await settle(lambda: one.statistics().unauthenticated == MAX_UNAUTHENTICATED)
            await works(network, one)
            assert one.statistics().evicted_unauthenticated >= 2 * MAX_UNAUTHENTICATED
            assert await flood[0].receive_into(memoryview(bytearray(1))) == 0
            assert trio.current_time() < HANDSHAKE_SECONDS
            await trio.sleep(HANDSHAKE_SECONDS + 1)
            assert one.statistics().unauthenticated == 0

    play(scenario)


def test_one_host_can_take_only_its_share_of_the_handshakes() -> None:
    async def scenario() -> None:
        network = MemoryNetwork(backlog=10_000)
        one = in_memory(network, ONE)
        async with running(one):
            for _number in range(3 * MAX_UNAUTHENTICATED_PER_IP):
                await network.transport(TWO).dial(ADDRESS)
            await settle(lambda: one.statistics().unauthenticated == MAX_UNAUTHENTICATED_PER_IP)
            await works(network, one)
            assert one.statistics().evicted_unauthenticated == 0

    play(scenario)


@pytest.mark.parametrize("seed", range(5))
def test_garbage_truncation_and_silence_before_the_handshake_cost_one_connection(seed: int) -> None:
    async def scenario() -> None:
        rng, network = random.Random(seed), MemoryNetwork(backlog=1000)
        one = in_memory(network, ONE)
        openings = [
            b"",
            b"\x13/multistream/1.0.0\n",
            b"\x13/multistream/1.0.0\n\x07/noise\n",
            b"\x13/multistream/1.0.0\n\x07/noise\n\xff\xff" + rng.randbytes(70_000),
            b"\x13/multistream/1.0.0\n\x05\xff\xfe\xfd\xfc\n",
            b"\xff" * 5000,
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x13/multistream/1.0.0\n" * 500,
        ]
        async with running(one):
            for number in range(40):
                raw = await network.transport(f"10.2.0.{number}").dial(ADDRESS)
                data = rng.choice([*openings, rng.randbytes(rng.randrange(3000))])
                try:
                    await raw.send_all(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.3 else data)
                except StreamClosed:
                    continue
                if rng.random() < 0.5:
                    await raw.aclose()
            await works(network, one)
            await trio.sleep(HANDSHAKE_SECONDS + 1)
            found = one.statistics()
            assert (found.unauthenticated, found.connections, found.accepted) == (0, 0, 1)

    play(scenario)


class _Exhausted(MemoryTransport):
    """A transport whose process keeps running out of file descriptors, and whose peers go away while they wait."""

    failures: Sequence[int] = (errno.EMFILE, errno.ENFILE, errno.ECONNABORTED, errno.ENOBUFS, errno.EMFILE)

    async def listen(self, address: str) -> MemoryListener:
        listener = await super().listen(address)
        left, accept = list(self.failures), listener.accept

        async def failing() -> MemoryStream:
            if left:
                raise OSError(left.pop(), "no room")
            return await accept()

        listener.accept = failing  # type: ignore[method-assign]
        return listener


def test_running_out_of_file_descriptors_does_not_end_listening(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one = in_memory(network, ONE)
        one._transports = (_Exhausted(network, ONE),)
        async with running(one):
            await works(network, one)
            pauses = sum(number in NO_ROOM for number in _Exhausted.failures)
            assert trio.current_time() == pytest.approx(pauses * ACCEPT_PAUSE_SECONDS, abs=0.1)

    with caplog.at_level(logging.WARNING):
        play(scenario)
    assert "ulimit -n" in caplog.text


def test_a_handler_that_fails_costs_its_own_stream_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, stranger = in_memory(network, ONE), Stranger(network, TWO)

        async def defective(stream: Stream) -> None:
            await stream.read_exactly(1)
            raise KeyError("a defect in a service")

        one.set_handler("/bad/1", defective)
        one.set_handler("/echo/1", echo)
        async with running(one), trio.open_nursery() as nursery:
            connection = await stranger.connect(ADDRESS, nursery)
            good = await connection.open_stream(["/echo/1"])
            for _time in range(3):
                bad = await connection.open_stream(["/bad/1"])
                await bad.write(b"x")
                with pytest.raises(StreamClosed):
                    await bad.read()
            await good.write(b"fine")
            await good.close_write()
            assert await good.read() == b"fine"
            await works(network, one)
            await connection.close()

    play(scenario)
    assert "a defect in a service" in caplog.text


# --- identify ---------------------------------------------------------------------------------------------------------
async def told(one: Swarm, stranger: Stranger, messages: Sequence[bytes], nursery: trio.Nursery) -> None:
    """The stranger connects and answers identify with these messages."""
    answered = trio.Event()

    async def answer(stream: Stream) -> None:
        for message in messages:
            await stream.write_message(message)
        await stream.close()
        answered.set()

    stranger.handlers[IDENTIFY] = answer
    await stranger.connect(ADDRESS, nursery)
    await answered.wait()
    await trio.sleep(1)


@pytest.mark.parametrize(
    "messages",
    [[], [b"\xff\xff\xff"], [b"\x0a\xff\xff\xff\x7f"], [b""] * (IDENTIFY_MAX_MESSAGES + 5), [bytes(9000)]],
    ids=["none", "garbage", "promises", "too many", "too large"],
)
def test_a_malformed_identify_answer_costs_its_stream(messages: list[bytes]) -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, stranger = in_memory(network, ONE), Stranger(network, TWO)
        one.set_handler("/echo/1", echo)
        async with running(one), trio.open_nursery() as nursery:
            await told(one, stranger, messages, nursery)
            assert one.identity(stranger.peer_id) is None
            assert stranger.peer_id in one.connected()
            await works(network, one)
            nursery.cancel_scope.cancel()

    play(scenario)


def test_a_malformed_push_costs_its_stream() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, stranger = in_memory(network, ONE), Stranger(network, TWO)
        async with running(one), trio.open_nursery() as nursery:
            connection = await stranger.connect(ADDRESS, nursery)
            for junk in (b"\xff\xff", b"\x0a\xff\xff\xff\x7f"):
                stream = await connection.open_stream([IDENTIFY_PUSH])
                await stream.write_message(junk)
                await stream.close_write()
                with pytest.raises(StreamClosed):
                    await stream.read_exactly(1)
            assert stranger.peer_id in one.connected()
            await works(network, one)
            nursery.cancel_scope.cancel()

    play(scenario)


def test_records_and_keys_of_others_are_not_believed() -> None:
    async def scenario() -> None:
        network, someone = MemoryNetwork(), PrivateKey.generate()
        address = to_bytes("/ip4/10.0.0.66/tcp/1")
        forged = bytearray(seal_peer_record(someone, 1, [address]))
        forged[-1] ^= 1
        lies = [
            Identity(signed_record=seal_peer_record(someone, 1, [address]), protocols=frozenset({"/x"})),
            Identity(signed_record=bytes(forged), protocols=frozenset({"/x"})),
            Identity(signed_record=b"garbage", protocols=frozenset({"/x"})),
            Identity(public_key=someone.public_key.encode(), addresses=("/ip4/10.0.0.66/tcp/1",)),
        ]
        one = in_memory(network, ONE)
        async with running(one), trio.open_nursery() as nursery:
            for lie in lies:
                stranger = Stranger(network, TWO)
                await told(one, stranger, encode(lie), nursery)
                assert one.identity(stranger.peer_id) is None
                assert one.addresses_of(stranger.peer_id) == []
            assert one.addresses_of(someone.peer_id()) == []
            nursery.cancel_scope.cancel()

    play(scenario)


def test_an_older_record_does_not_replace_a_newer_one() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, stranger = in_memory(network, ONE), Stranger(network, TWO)
        new, old = "/ip4/10.0.0.5/tcp/2", "/ip4/10.0.0.5/tcp/1"

        def record(seq: int, text: str) -> bytes:
            return encode(Identity(signed_record=seal_peer_record(stranger.key, seq, [to_bytes(text)])))[0]

        async with running(one), trio.open_nursery() as nursery:
            await told(one, stranger, [record(7, new)], nursery)
            connection = await stranger.connect(ADDRESS, nursery)
            stream = await connection.open_stream([IDENTIFY_PUSH])
            await stream.write_message(record(6, old))
            await stream.close()
            await trio.sleep(1)
            assert [row.text for row in one.addresses_of(stranger.peer_id)] == [new]
            nursery.cancel_scope.cancel()

    play(scenario)


def test_a_peer_on_the_internet_cannot_point_us_at_our_own_networks() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one = in_memory(network, ONE)
        claims = ("/ip4/127.0.0.1/tcp/5001", "/ip4/10.0.0.7/tcp/22", "/ip4/0.0.0.0/tcp/1", "/ip4/8.8.4.4/tcp/4001")
        outside, inside = Stranger(network, "8.8.8.8"), Stranger(network, TWO)
        async with running(one), trio.open_nursery() as nursery:
            await told(one, outside, encode(Identity(addresses=claims)), nursery)
            assert [row.text for row in one.addresses_of(outside.peer_id)] == ["/ip4/8.8.4.4/tcp/4001"]
            await told(one, inside, encode(Identity(addresses=claims)), nursery)
            assert {row.text for row in one.addresses_of(inside.peer_id)} == {claims[1], claims[3]}
            nursery.cancel_scope.cancel()

    play(scenario)


def test_what_one_peer_says_of_itself_is_bounded() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, stranger = in_memory(network, ONE), Stranger(network, TWO)
        many = frozenset(f"/{'x' * 100}/{number}" for number in range(256))
        async with running(one), trio.open_nursery() as nursery:
            await told(one, stranger, encode(Identity(protocols=many)), nursery)
            known = one.protocols_of(stranger.peer_id)
            assert 0 < sum(map(len, known)) <= IDENTIFY_PROTOCOL_BYTES
            nursery.cancel_scope.cancel()

    play(scenario)


def test_many_identities_leave_no_more_than_their_share_behind() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one = in_memory(network, ONE)
        async with running(one):
            for number in range(60):
                async with trio.open_nursery() as nursery:
                    await Stranger(network, f"10.3.0.{number}").connect(ADDRESS, nursery)
                    await settle(lambda: len(one.connected()) > 0)
                    nursery.cancel_scope.cancel()
                await settle(lambda: not one.connected())
            found = one.statistics()
            assert (found.connections, found.unauthenticated, found.streams, found.known_peers) == (0, 0, 0, 0)

    play(scenario)
