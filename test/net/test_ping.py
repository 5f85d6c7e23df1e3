from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from ipfs_kit_py.core.config import PING_IDLE_SECONDS, PING_SECONDS
from ipfs_kit_py.core.errors import ProtocolViolation, StreamClosed, TimedOut
from ipfs_kit_py.net import ping
from ipfs_kit_py.net.memory import Link, MemoryNetwork
from test.net.swarms import Stranger, in_memory, play, running, settle

if TYPE_CHECKING:
    from ipfs_kit_py.core.interfaces import Stream

ONE, TWO = "10.0.0.1", "10.0.0.2"


def test_a_ping_measures_the_round_trip() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        network.link(ONE, TWO, Link(latency=0.07))
        one, other = in_memory(network, ONE), in_memory(network, TWO)
        async with running(one, other):
            await one.connect(other.peer_id, other.addresses())
            assert await one.ping(other.peer_id) == pytest.approx(0.14)
            assert await other.ping(one.peer_id) == pytest.approx(0.14)

    play(scenario)


def test_many_pings_go_over_one_stream_and_an_idle_one_is_closed() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, stranger = in_memory(network, ONE), Stranger(network, TWO)
        async with running(one), trio.open_nursery() as nursery:
            connection = await stranger.connect(one.addresses()[0], nursery)
            stream = await connection.open_stream([ping.PING])
            for _ping in range(5):
                await ping.measure(stream)
            start = trio.current_time()
            with pytest.raises(StreamClosed):
                await stream.read_exactly(1)
            assert trio.current_time() - start == pytest.approx(PING_IDLE_SECONDS, abs=1)
            await connection.close()

    play(scenario)


@pytest.mark.parametrize(("answers", "error"), [(True, ProtocolViolation), (False, TimedOut)])
def test_a_false_echo_and_none_are_typed_errors(answers: bool, error: type[Exception]) -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, stranger = in_memory(network, ONE), Stranger(network, TWO)

        async def liar(stream: Stream) -> None:
            await stream.read_exactly(ping.PAYLOAD_BYTES)
            if answers:
                await stream.write(bytes(ping.PAYLOAD_BYTES))
            await trio.sleep(10 * PING_SECONDS)

        stranger.handlers[ping.PING] = liar
        async with running(one), trio.open_nursery() as nursery:
            connection = await stranger.connect(one.addresses()[0], nursery)
            await settle(lambda: len(one.connected()) == 1)
            with pytest.raises(error):
                await one.ping(stranger.peer_id)
            assert one.statistics().connections == 1
            await connection.close()

    play(scenario)
