"""The connection driver: streams between two ends, over a pipe in memory whose clock jumps."""

from __future__ import annotations

import gc
import logging
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ipfs_kit_py.core.config import (
    MIB,
    NEGOTIATE_SECONDS,
    NOISE_FRAME_BYTES,
    READ_BUFFER_MAX,
    READ_BUFFER_MIN,
    REMEMBERED_PROTOCOLS,
    SMALL_READS,
    STREAM_READ_ALL_BYTES,
    TICK_SECONDS,
    VIEW_HOLD_SECONDS,
    WRITE_STALL_SECONDS,
    YAMUX_ACCEPT_BACKLOG,
    YAMUX_INITIAL_WINDOW,
    YAMUX_PING_INTERVAL,
    YAMUX_PING_TIMEOUT,
)
from ipfs_kit_py.core.errors import NotSupported, PeerError, ProtocolViolation, StreamClosed, TimedOut
from ipfs_kit_py.net import noise
from ipfs_kit_py.net.buffers import buffer, resized
from ipfs_kit_py.net.connection import MuxedConnection, secure
from ipfs_kit_py.net.memory import Link
from ipfs_kit_py.net.multistream import HEADER_LINE, Dialer, Listener
from ipfs_kit_py.net.stream import MuxedStream
from ipfs_kit_py.net.yamux_stream import Write
from test.net.pipes import ALICE, BOB, connected, raw_pair, secured_pair

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ipfs_kit_py.core.interfaces import Stream
    from ipfs_kit_py.net.memory import MemoryStream

ECHO = "/test/echo/1.0.0"


async def _echo(stream: Stream) -> None:
    while data := await stream.read(65_536):
        await stream.write(data)
    await stream.close()


def _run(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0))


# --- handshake --------------------------------------------------------------------------------------------------------
def test_both_ends_know_each_other() -> None:
    async def main() -> None:
        async with connected() as pair:
            assert pair.alice.peer_id == BOB.peer_id()
            assert pair.bob.peer_id == ALICE.peer_id()
            assert pair.bob.remote_public_key == ALICE.public_key
            assert (pair.alice.outbound, pair.bob.outbound) == (True, False)
            assert pair.alice.remote_address == pair.bob.local_address

    _run(main)


def test_connecting_and_a_first_answer_take_two_round_trips() -> None:
    """One for both handshakes, one for the question itself."""

    async def main() -> None:
        raw = await raw_pair(Link(latency=1.0))
        start = trio.current_time()
        first, second = await secured_pair(raw)
        alice = MuxedConnection(first, handler_for=lambda _name: None)
        bob = MuxedConnection(second, handler_for={ECHO: _echo}.get)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.run)
            nursery.start_soon(bob.run)
            stream = await alice.open_stream([ECHO], known={ECHO})
            await stream.write(b"question")
            assert await stream.read_exactly(8) == b"question"
            # alice has the session after 2 s, bob after 3 s, when the question is right behind the handshake
            assert trio.current_time() - start == pytest.approx(5.0, abs=0.01)
            await alice.close()
            await bob.close()

    _run(main)


def test_a_wrong_peer_is_refused_and_the_pipe_closed() -> None:
    async def main() -> None:
        raw = await raw_pair()
        async with trio.open_nursery() as nursery:

            async def accept() -> None:
                with pytest.raises(StreamClosed):
                    await secure(raw.bob, BOB, outbound=False, expected=None)

            nursery.start_soon(accept)
            with pytest.raises(ProtocolViolation, match="was expected"):
                await secure(raw.alice, ALICE, outbound=True, expected=ALICE.peer_id())
        with pytest.raises(StreamClosed):
            await raw.alice.send_all(b"x")

    _run(main)


async def _peer_by_hand(raw: MemoryStream, *, initiator: bool, muxers: list[str], speaks: str) -> noise.Session:
    """A peer that offers ``muxers`` in its handshake, then negotiates ``speaks`` inside the sealed channel."""
    shake = noise.Handshake(ALICE, initiator=initiator, muxers=muxers)
    buffer, data = memoryview(bytearray(10_000)), bytearray()

    async def more() -> None:
        count = await raw.receive_into(buffer)
        if not count:
            raise StreamClosed("the other side has closed")
        data.extend(buffer[:count])

    async def frame() -> bytes:
        while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
            await more()
        size = 2 + int.from_bytes(data[:2], "big")
        found = bytes(data[2:size])
        del data[:size]
        return found

    outer: Dialer | Listener = Dialer([noise.PROTOCOL]) if initiator else Listener("/noise".__eq__)
    while True:
        if out := outer.take():
            await raw.send_all(out)
        if outer.done:
            break
        await more()
        outer.receive(bytes(data))
        data.clear()
    data.extend(outer.rest)
    while not shake.done:
        if shake.my_turn:
            message = shake.write()
            await raw.send_all(len(message).to_bytes(2, "big") + message)
        else:
            shake.read(await frame())
    session = shake.session()
    inner: Dialer | Listener = Dialer([speaks]) if initiator else Listener(speaks.__eq__)
    while not muxers:
        if out := inner.take():
            sealed = bytearray(session.sealed_size([out]))
            await raw.send_all(sealed[: session.seal([out], memoryview(sealed))])
        if inner.done:
            break
        sealed = bytearray(await frame())
        for plain in session.open(memoryview(len(sealed).to_bytes(2, "big") + sealed), len(sealed) + 2)[0]:
            inner.receive(plain)
    return session


@pytest.mark.parametrize("initiator", [False, True])
def test_a_peer_without_early_muxers(initiator: bool) -> None:
    async def main() -> None:
        raw = await raw_pair()
        ours, theirs = (raw.bob, raw.alice) if initiator else (raw.alice, raw.bob)
        sessions: list[noise.Session] = []

        async def by_hand() -> None:
            sessions.append(await _peer_by_hand(theirs, initiator=initiator, muxers=[], speaks="/yamux/1.0.0"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(by_hand)
            secured = await secure(ours, BOB, outbound=not initiator, expected=ALICE.peer_id())
        assert secured.peer_id == ALICE.peer_id()
        sealed = bytearray(100)
        used = sessions[0].seal([b"works"], memoryview(sealed))
        assert secured.session.open(memoryview(sealed), used) == ([b"works"], used)

    _run(main)


@pytest.mark.parametrize("initiator", [False, True])
@pytest.mark.parametrize("muxers", [[], ["/mplex/6.7.0"]])
def test_a_peer_without_yamux_is_refused(initiator: bool, muxers: list[str]) -> None:
    async def main() -> None:
        raw = await raw_pair()
        ours, theirs = (raw.bob, raw.alice) if initiator else (raw.alice, raw.bob)

        async def by_hand() -> None:
            with suppress(StreamClosed):
                await _peer_by_hand(theirs, initiator=initiator, muxers=muxers, speaks="/mplex/6.7.0")
                await theirs.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(by_hand)
            with pytest.raises(PeerError):
                await secure(ours, BOB, outbound=not initiator, expected=None)

    _run(main)


# --- streams ----------------------------------------------------------------------------------------------------------
def test_bytes_there_and_back() -> None:
    async def main() -> None:
        rng = random.Random(1)
        data = rng.randbytes(3_000_000)
        async with connected({ECHO: _echo}) as pair, trio.open_nursery() as nursery:
            stream = await pair.alice.open_stream(["/unknown/1.0.0", ECHO])
            assert stream.protocol == ECHO
            assert stream.outbound

            async def write() -> None:
                await stream.write(data[:10], data[10:2_000_000], b"", data[2_000_000:])
                await stream.close_write()

            nursery.start_soon(write)
            assert await stream.read() == data
            await stream.close()

    _run(main)


def test_messages_of_all_sizes() -> None:
    async def main() -> None:
        rng = random.Random(2)
        messages = [rng.randbytes(size) for size in (0, 1, 127, 128, 65_519, 65_520, 1_000_000, 4 * MIB)]

        async def send(stream: Stream) -> None:
            for message in messages:
                await stream.write_message(message[:5], memoryview(message)[5:])
            await stream.close_write()

        async with connected({"/messages": send}) as pair:
            stream = await pair.alice.open_stream(["/messages"])
            for message in messages:
                assert await stream.read_message(4 * MIB) == message
            assert await stream.read_message(4 * MIB) is None

    _run(main)


def test_reading_in_every_way() -> None:
    async def send(stream: Stream) -> None:
        await stream.write(bytes(range(100)))
        await stream.close_write()

    async def main() -> None:
        async with connected({"/bytes": send}) as pair:
            stream = await pair.alice.open_stream(["/bytes"])
            assert await stream.read(0) == b""
            assert await stream.read(3) == bytes(range(3))
            assert await stream.read_exactly(7) == bytes(range(3, 10))
            assert await stream.read(1000) == bytes(range(10, 100))
            assert await stream.read(5) == b""
            assert await stream.read() == b""
            with pytest.raises(StreamClosed, match="early"):
                await stream.read_exactly(1)

    _run(main)


def test_limits_of_reading() -> None:
    async def flood(stream: Stream) -> None:
        while True:
            await stream.write(bytes(MIB))

    async def lie(stream: Stream) -> None:
        await stream.write(b"\xff\xff\xff\xff\x0f" + bytes(10))
        await stream.write(b"\xff" * 20)

    async def cut(stream: Stream) -> None:
        await stream.write(b"\x05abc")
        await stream.close()

    async def main() -> None:
        async with connected({"/flood": flood, "/lie": lie, "/cut": cut}) as pair:
            stream = await pair.alice.open_stream(["/flood"])
            with pytest.raises(ProtocolViolation, match=str(STREAM_READ_ALL_BYTES)):
                await stream.read()
            stream.reset()
            stream = await pair.alice.open_stream(["/lie"])
            with pytest.raises(ProtocolViolation, match="4294967295 bytes"):
                await stream.read_message(4 * MIB)
            await stream.read_exactly(10)
            with pytest.raises(ProtocolViolation, match="length"):
                await stream.read_message(4 * MIB)
            stream = await pair.alice.open_stream(["/cut"])
            with pytest.raises(StreamClosed, match="2 of 5"):
                await stream.read_message(100)

    _run(main)


def test_a_known_protocol_costs_no_round_trip() -> None:
    async def main() -> None:
        async with connected({ECHO: _echo}, link=Link(latency=1.0)) as pair:
            start = trio.current_time()
            first = await pair.alice.open_stream(["/newer", ECHO])
            assert trio.current_time() - start == pytest.approx(4.0, abs=0.01)  # two proposals
            start = trio.current_time()
            second = await pair.alice.open_stream(["/newer", ECHO])  # remembered
            assert trio.current_time() == start
            await second.write_message(b"hello")
            assert await second.read_message(10) == b"hello"
            assert trio.current_time() - start == pytest.approx(2.0, abs=0.01)
            await first.close()
            await second.close()

    _run(main)


def test_a_protocol_that_was_promised_and_is_not_served() -> None:
    async def main() -> None:
        async with connected({ECHO: _echo}) as pair:
            stream = await pair.alice.open_stream(["/gone"], known=["/gone"])
            await stream.write(b"hello")
            with pytest.raises(NotSupported, match="/gone"):
                await stream.read(10)
            with pytest.raises(NotSupported):
                await stream.write(b"again")
            with pytest.raises(NotSupported, match="none of /gone, /lost"):
                await pair.alice.open_stream(["/gone", "/lost"])

    _run(main)


def test_a_stream_that_reads_first_is_opened_by_it() -> None:
    async def greet(stream: Stream) -> None:
        await stream.write(b"welcome")
        await stream.close()

    async def main() -> None:
        async with connected({"/greet": greet}) as pair:
            stream = await pair.alice.open_stream(["/greet"], known=["/greet"])
            assert await stream.read() == b"welcome"

    _run(main)


def test_a_message_is_delivered_though_its_sender_closes_at_once() -> None:
    async def main() -> None:
        got = trio.Event()

        async def receive(stream: Stream) -> None:
            assert await stream.read_message(100) == b"news"
            assert await stream.read_message(100) is None
            got.set()

        async with connected({"/news": receive}, link=Link(latency=0.5)) as pair:
            stream = await pair.alice.open_stream(["/news"], known=["/news"])
            await stream.write_message(b"news")
            await stream.close()
            await got.wait()
            await trio.sleep(2)
            assert pair.alice.statistics().outbound == 0
            assert pair.bob.statistics().inbound == 0

    _run(main)


def test_a_stream_that_was_never_used_leaves_no_trace() -> None:
    async def main() -> None:
        async with connected({ECHO: _echo}) as pair:
            stream = await pair.alice.open_stream([ECHO], known=[ECHO])
            await stream.close()
            await trio.sleep(1)
            assert pair.alice.statistics().outbound == 0
            assert pair.bob.statistics().inbound == 0

    _run(main)


def test_many_streams_at_once_each_way() -> None:
    async def main() -> None:
        async with connected({ECHO: _echo}, {ECHO: _echo}) as pair, trio.open_nursery() as nursery:

            async def one(connection: MuxedConnection, number: int) -> None:
                data = random.Random(number).randbytes(number * 1000)
                stream = await connection.open_stream([ECHO])
                async with trio.open_nursery() as inner:
                    inner.start_soon(stream.write, data)
                    assert await stream.read_exactly(len(data)) == data
                await stream.close()

            for number in range(300):
                nursery.start_soon(one, pair.alice, number)
                nursery.start_soon(one, pair.bob, number)
        assert pair.alice.statistics().inbound + pair.alice.statistics().outbound == 0

    _run(main)


# --- failures ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("error", [ValueError("broken"), ExceptionGroup("two", [KeyError(1), OSError()])])
def test_a_handler_that_raises_loses_its_stream_only(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(stream: Stream) -> None:
        await stream.read(1)
        raise error

    async def main() -> None:
        async with connected({"/fail": fail, ECHO: _echo}) as pair:
            bad = await pair.alice.open_stream(["/fail"])
            good = await pair.alice.open_stream([ECHO])
            await bad.write(b"x")
            with pytest.raises(StreamClosed, match="reset"):
                await bad.read()
            await good.write(b"still here")
            assert await good.read_exactly(10) == b"still here"

    with caplog.at_level(logging.ERROR):
        _run(main)
    assert [record.message.split(" on ")[0] for record in caplog.records] == ["the handler of /fail failed"]


async def _write(stream: Stream, size: int, released: list[int]) -> None:
    await stream.write(bytes(size), release=lambda: released.append(1))


def test_a_cancelled_write_costs_its_stream_only() -> None:
    async def ignore(_stream: Stream) -> None:
        await trio.sleep_forever()

    async def main() -> None:
        released: list[int] = []
        async with connected({"/ignore": ignore, ECHO: _echo}) as pair:
            other = await pair.alice.open_stream([ECHO])
            for size in (YAMUX_INITIAL_WINDOW + 1, 10 * MIB):
                stream = await pair.alice.open_stream(["/ignore"])
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_write, stream, size, released)
                    await wait_all_tasks_blocked()
                    nursery.cancel_scope.cancel()
                with pytest.raises(StreamClosed):
                    await stream.write(b"x")
                await other.write(b"fine")
                assert await other.read_exactly(4) == b"fine"
            assert released == [1, 1]
            await trio.sleep(1)
            assert pair.bob.statistics().inbound == 1

    _run(main)


def test_writes_cancelled_at_any_moment_tear_nothing() -> None:
    async def swallow(stream: Stream) -> None:
        while await stream.read(65_536):
            pass

    async def main() -> None:
        rng = random.Random(3)
        async with connected({"/swallow": swallow, ECHO: _echo}, link=Link(latency=0.001, bandwidth=50e6)) as pair:
            check = await pair.alice.open_stream([ECHO])
            for turn in range(60):
                stream = await pair.alice.open_stream(["/swallow"])
                with trio.move_on_after(rng.random() * 0.05):
                    for _ in range(10):
                        await stream.write(bytes(300_000), b"tail")
                stream.reset()
                await check.write_message(b"%d" % turn)
                assert await check.read_message(10) == b"%d" % turn

    _run(main)


def test_release_comes_when_sealed_or_when_the_peer_stalls() -> None:
    async def stall(stream: Stream) -> None:
        await stream.read_exactly(1)
        await trio.sleep(10)
        await stream.read_exactly(2 * MIB - 1)
        await stream.write(b"!")

    async def main() -> None:
        async with connected({"/stall": stall}) as pair:
            stream = await pair.alice.open_stream(["/stall"])
            released: list[float] = []
            block = bytearray(b"a" * (2 * MIB))
            start = trio.current_time()
            async with trio.open_nursery() as nursery:

                async def write() -> None:
                    await stream.write(memoryview(block), release=lambda: released.append(trio.current_time()))

                nursery.start_soon(write)
                await trio.sleep(1)
                assert released == [pytest.approx(start + VIEW_HOLD_SECONDS)]
                block[:] = b"b" * len(block)  # it is ours again
                del block[1:]  # BufferError if a view were left
            assert await stream.read_exactly(1) == b"!"

    _run(main)


def test_the_writers_buffers_are_free_once_released() -> None:
    async def main() -> None:
        async with connected({ECHO: _echo}) as pair:
            stream = await pair.alice.open_stream([ECHO])
            block, free = bytearray(100_000), []

            def release() -> None:
                block.extend(b"x")  # BufferError if a view were left
                free.append(True)

            await stream.write_message(block, release=release)
            assert free == [True]
            assert await stream.read_message(MIB) == bytes(100_000)

    _run(main)


def test_release_is_called_once_when_the_stream_is_gone() -> None:
    async def main() -> None:
        async with connected({ECHO: _echo}) as pair:
            stream = await pair.alice.open_stream([ECHO])
            stream.reset()
            released: list[int] = []
            with pytest.raises(StreamClosed):
                await stream.write(b"x", release=lambda: released.append(1))
            assert released == [1]

    _run(main)


def test_an_error_of_our_own_costs_the_connection_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        raw = await raw_pair()
        first, second = await secured_pair(raw)

        def broken(_name: str) -> None:
            raise ZeroDivisionError

        alice, bob = MuxedConnection(first, handler_for=broken), MuxedConnection(second, handler_for=broken)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.run)
            nursery.start_soon(bob.run)
            with pytest.raises(StreamClosed):
                await alice.open_stream([ECHO])
            await bob.wait_closed()
            await alice.wait_closed()
        assert bob.closed_because == "an internal error"
        assert "code 2" in str(alice.closed_because)

    with caplog.at_level(logging.ERROR):
        _run(main)
    assert len(caplog.records) == 1


def test_a_cancelled_choice_of_protocol_drops_the_stream() -> None:
    async def main() -> None:
        async with connected({ECHO: _echo}, link=Link(latency=1.0)) as pair:
            with trio.move_on_after(0.5):
                await pair.alice.open_stream([ECHO])
            assert pair.alice.statistics().outbound == 0
            await trio.sleep(5)
            assert pair.bob.statistics().inbound == 0

    _run(main)


def test_streams_that_the_remote_does_not_acknowledge_are_bounded() -> None:
    async def main() -> None:
        async with connected({ECHO: _echo}) as pair:
            streams = [await pair.alice.open_stream([ECHO], known=[ECHO]) for _ in range(YAMUX_ACCEPT_BACKLOG)]
            with pytest.raises(TimedOut, match="acknowledged"):
                await pair.alice.open_stream([ECHO], known=[ECHO])
            async with trio.open_nursery() as nursery:

                async def open_one() -> None:
                    stream = await pair.alice.open_stream([ECHO], known=[ECHO])
                    await stream.write(b"x")
                    assert await stream.read(1) == b"x"

                nursery.start_soon(open_one)
                await wait_all_tasks_blocked()
                await streams[0].write(b"y")

    _run(main)


def test_remembered_protocols_are_bounded() -> None:
    async def main() -> None:
        names = [f"/test/{number}" for number in range(REMEMBERED_PROTOCOLS + 10)]
        async with connected(dict.fromkeys(names, _echo), link=Link(latency=1.0)) as pair:
            for name in names:
                await (await pair.alice.open_stream([name])).close()
            start = trio.current_time()
            await pair.alice.open_stream([names[-1]])
            assert trio.current_time() == start
            await pair.alice.open_stream([names[0]])  # forgotten: asked again
            assert trio.current_time() > start

    _run(main)


# --- stalls -----------------------------------------------------------------------------------------------------------
def test_a_stream_that_nobody_reads_blocks_no_other_and_is_cut_off() -> None:
    async def ignore(_stream: Stream) -> None:
        await trio.sleep_forever()

    async def main() -> None:
        async with connected({"/ignore": ignore, ECHO: _echo}) as pair:
            stuck = await pair.alice.open_stream(["/ignore"])
            good = await pair.alice.open_stream([ECHO])
            start = trio.current_time()
            async with trio.open_nursery() as nursery:

                async def write() -> None:
                    with pytest.raises(StreamClosed, match="took nothing"):
                        await stuck.write(bytes(2 * YAMUX_INITIAL_WINDOW))

                nursery.start_soon(write)
                for _ in range(5):
                    await good.write(b"hello")
                    assert await good.read_exactly(5) == b"hello"
                assert trio.current_time() == start
            assert WRITE_STALL_SECONDS <= trio.current_time() - start <= WRITE_STALL_SECONDS + 2 * TICK_SECONDS
            assert not pair.alice.is_closed

    _run(main)


def test_a_peer_that_stops_reading_is_cut_off() -> None:
    async def main() -> None:
        raw = await raw_pair()
        first, _second = await secured_pair(raw)  # Bob never runs: nobody reads the pipe
        alice = MuxedConnection(first, handler_for=lambda _name: None)
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.run)

            async def one() -> None:
                stream = await alice.open_stream([ECHO], known=[ECHO])
                await _ignore_closed(stream.write, bytes(YAMUX_INITIAL_WINDOW))
                await _ignore_closed(stream.read_exactly, 1)

            for _ in range(20):
                nursery.start_soon(one)
        assert alice.is_closed
        assert trio.current_time() - start <= WRITE_STALL_SECONDS + 2 * TICK_SECONDS

    _run(main)


def test_a_dead_line_is_noticed() -> None:
    async def main() -> None:
        async with connected({ECHO: _echo}) as pair:
            await trio.sleep(100)
            pair.link.cut = True
            start = trio.current_time()
            await pair.alice.wait_closed()
            assert trio.current_time() - start <= YAMUX_PING_INTERVAL + YAMUX_PING_TIMEOUT + TICK_SECONDS
            assert "nothing was heard" in str(pair.alice.closed_because)

    _run(main)


def test_a_slow_line_is_not_a_dead_one() -> None:
    async def main() -> None:
        data = bytes(300_000)
        async with connected({ECHO: _echo}, link=Link(bandwidth=4000.0)) as pair:
            stream = await pair.alice.open_stream([ECHO])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.write, data)
                assert await stream.read_exactly(len(data)) == data

    _run(main)


def test_a_protocol_choice_without_an_answer() -> None:
    async def main() -> None:
        async with connected() as pair:
            pair.link.cut = True
            with pytest.raises(TimedOut):
                await pair.alice.open_stream([ECHO])
            assert pair.alice.statistics().outbound == 0

    _run(main)


def test_an_inbound_stream_that_never_chooses() -> None:
    async def main() -> None:
        async with connected({ECHO: _echo}) as pair:
            state = pair.alice.engine.open(trio.current_time())
            silent = MuxedStream(pair.alice, state, Dialer([ECHO]))  # its proposal waits for a first write
            pair.alice.engine.send(state, Write((HEADER_LINE,)), trio.current_time())
            pair.alice.wake_writer()
            await trio.sleep(1)
            assert pair.bob.engine.statistics().waiting == 1
            await trio.sleep(NEGOTIATE_SECONDS + TICK_SECONDS)
            assert pair.bob.engine.statistics().waiting == 0
            assert silent.is_closed

    _run(main)


# --- the end ----------------------------------------------------------------------------------------------------------
def test_closing_ends_both_sides_and_everything_on_them() -> None:
    async def main() -> None:
        ended = trio.Event()

        async def wait(stream: Stream) -> None:
            try:
                await stream.read()
            finally:
                ended.set()

        async with connected({"/wait": wait}) as pair:
            stream = await pair.alice.open_stream(["/wait"])
            async with trio.open_nursery() as nursery:

                async def read() -> None:
                    with pytest.raises(StreamClosed):
                        await stream.read()

                nursery.start_soon(read)
                await wait_all_tasks_blocked()
                start = trio.current_time()
                await pair.alice.close()
                assert trio.current_time() - start <= 0.02
            await pair.bob.wait_closed()
            await ended.wait()
            await pair.alice.close()
            with pytest.raises(StreamClosed):
                await pair.alice.open_stream([ECHO])
            with pytest.raises(StreamClosed):
                await pair.alice.ping()
            with pytest.raises(StreamClosed):
                await stream.write(b"x")
            assert pair.alice.closed_because == "closed here"

    _run(main)


def test_closing_waits_for_a_stuck_peer_20_ms_and_no_longer() -> None:
    async def main() -> None:
        raw = await raw_pair(Link(bandwidth=10.0))
        first, _second = await secured_pair(await raw_pair())
        alice = MuxedConnection(type(first)(raw.alice, *list(vars(first).values())[1:]), handler_for=lambda _name: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.run)
            for _ in range(10):
                stream = await alice.open_stream([ECHO], known=[ECHO])
                nursery.start_soon(_ignore_closed, stream.write, bytes(200_000))
            await trio.sleep(1)
            start = trio.current_time()
            await alice.close()
            assert trio.current_time() - start == pytest.approx(0.02)

    _run(main)


async def _ignore_closed(verb: Callable[[Any], Awaitable[object]], argument: object) -> None:
    with suppress(StreamClosed):
        await verb(argument)


def test_what_was_written_is_sent_before_the_end() -> None:
    async def main() -> None:
        got: list[bytes] = []

        async def receive(stream: Stream) -> None:
            await trio.sleep(0.5)  # busy with something else
            got.append(await stream.read())

        async with connected({"/last": receive}) as pair:
            stream = await pair.alice.open_stream(["/last"])
            await stream.write(b"last words")
            await stream.close()
            await pair.alice.close()
            await pair.bob.wait_closed()
        assert got == [b"last words"]

    _run(main)


def test_a_cancelled_connection_leaves_nothing() -> None:
    async def main() -> None:
        raw = await raw_pair()
        first, second = await secured_pair(raw)
        alice = MuxedConnection(first, handler_for=lambda _name: None)
        bob = MuxedConnection(second, handler_for={ECHO: _echo}.get)
        async with trio.open_nursery() as outer:
            outer.start_soon(bob.run)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(alice.run)
                    await (await alice.open_stream([ECHO])).write(b"x")
                    scope.cancel()
            assert alice.is_closed
            await bob.wait_closed()
        gc.collect()  # a coroutine that was never awaited would warn

    _run(main)


def test_a_ping_measures_the_round_trip() -> None:
    async def main() -> None:
        async with connected(link=Link(latency=0.25)) as pair:
            assert await pair.alice.ping() == pytest.approx(0.5, abs=0.01)
            assert pair.alice.rtt == pytest.approx(0.5, abs=0.01)

    _run(main)


def test_windows_grow_on_a_long_line() -> None:
    """The initial window alone would allow 5 MB/s over 50 ms; the buffers of the pipe allow 40."""

    async def send(stream: Stream) -> None:
        for _ in range(64):
            await stream.write_message(bytes(MIB))
        await stream.close_write()

    async def main() -> None:
        async with connected({"/send": send}, link=Link(latency=0.025, bandwidth=300e6)) as pair:
            stream = await pair.alice.open_stream(["/send"])
            start = trio.current_time()
            while await stream.read_message(MIB) is not None:
                pass
            assert 64 * MIB / (trio.current_time() - start) > 30e6
            assert stream.state.target > 2 * MIB

    _run(main)


def test_the_read_buffer_follows_the_traffic() -> None:
    data, small = buffer(READ_BUFFER_MIN), 0
    data[-2:] = b"ab"
    for _ in range(10):  # reads that fill it, but for the two bytes of an unfinished frame
        data, small = resized(data, len(data) - 2, 2, small)
        assert bytes(data[:2]) == b"ab"
        data[-2:] = b"ab"
    assert len(data) == READ_BUFFER_MAX
    for _ in range(SMALL_READS + 1):
        data[100:102] = b"\x00\x10"
        data, small = resized(data, 100, 2, small)
    assert len(data) == READ_BUFFER_MIN
    assert bytes(data[:2]) == b"\x00\x10"
    data[:2] = b"\xff\xff"  # the longest frame has begun
    data, small = resized(data, 0, 2, small)
    assert len(data) == NOISE_FRAME_BYTES + 2
    assert bytes(data[:2]) == b"\xff\xff"
