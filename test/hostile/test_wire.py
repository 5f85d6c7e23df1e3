"""What a bad peer sends on a connection: before it has proved who it is, and after."""

from __future__ import annotations

import struct
import tracemalloc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from ipfs_kit_py.core.config import (
    HANDSHAKE_SECONDS,
    MIB,
    MULTISTREAM_MAX_LINES,
    NEGOTIATE_SECONDS,
    TICK_SECONDS,
    WRITE_STALL_SECONDS,
    YAMUX_ACCEPT_BACKLOG,
    YAMUX_INITIAL_WINDOW,
    YAMUX_MAX_STREAMS_IN,
)
from ipfs_kit_py.core.errors import PeerError, ProtocolViolation, StreamClosed
from ipfs_kit_py.net import multistream, noise
from ipfs_kit_py.net.connection import MuxedConnection, secure
from ipfs_kit_py.net.multistream import HEADER_LINE, line
from test.net.pipes import ALICE, BOB, connected, raw_pair, secured_pair

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from ipfs_kit_py.core.interfaces import Stream
    from ipfs_kit_py.net.connection import SecureConnection, StreamHandler

ECHO = "/test/echo/1.0.0"
DATA, WINDOW, PING, GO_AWAY = 0, 1, 2, 3
SYN, ACK, FIN, RST = 1, 2, 4, 8
CHOICE = HEADER_LINE + line(ECHO)


async def _echo(stream: Stream) -> None:
    while data := await stream.read(65_536):
        await stream.write(data)
    await stream.close()


def _run(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0))


def _frame(kind: int, flags: int, stream: int, length: int, payload: bytes = b"", version: int = 0) -> bytes:
    return struct.pack(">BBHII", version, kind, flags, stream, length) + payload


def _data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    return _frame(DATA, flags, stream, len(payload), payload)


# --- before the handshake is over -------------------------------------------------------------------------------------
async def _refused(data: bytes, *, outbound: bool, drip: bool = False) -> tuple[PeerError, float]:
    """How ``secure`` ends against a peer that sends these bytes and then nothing, and after how many seconds."""
    raw = await raw_pair()
    ours, theirs = (raw.alice, raw.bob) if outbound else (raw.bob, raw.alice)
    start = trio.current_time()
    async with trio.open_nursery() as nursery:

        async def attack() -> None:
            pieces = [data[at : at + 1] for at in range(len(data))] if drip else [data]
            try:
                for piece in pieces:
                    await theirs.send_all(piece)
                    await trio.sleep(1 if drip else 0)
            except StreamClosed:
                pass

        nursery.start_soon(attack)
        with pytest.raises(PeerError) as caught:
            await secure(ours, BOB, outbound=outbound, expected=None)
        took = trio.current_time() - start
        with pytest.raises(StreamClosed):
            await ours.send_all(b"x")
        nursery.cancel_scope.cancel()
    return caught.value, took


GARBAGE = {
    "nothing": b"",
    "half a line": b"\x13/multistream",
    "no UTF-8": b"\x05\xff\xff\xff\xff\n",
    "an endless line": b"\xff" * 100_000,
    "a long line": b"\x80\x80\x01" + b"x" * 200_000,
    "HTTP": b"GET / HTTP/1.1\r\nHost: example.org\r\nUser-Agent: something long enough for a line\r\n\r\n",
    "zeros": bytes(100_000),
    "a scan": HEADER_LINE + line("/x") * 1000,
    "a long message": CHOICE.replace(line(ECHO), line("/noise")) + b"\xff\xff" + bytes(70_000),
    "a short message": HEADER_LINE + line("/noise") + b"\x00\x01x",
    "a wrong message": HEADER_LINE + line("/noise") + b"\x00\x60" + bytes(range(96)) * 2,
}


@pytest.mark.parametrize("outbound", [False, True])
@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_costs_the_pipe_and_at_most_the_handshakes_time(name: str, outbound: bool) -> None:
    async def main() -> None:
        _error, took = await _refused(GARBAGE[name], outbound=outbound)
        assert took <= HANDSHAKE_SECONDS

    _run(main)


def test_a_message_longer_than_any_is_refused_by_its_length() -> None:
    async def main() -> None:
        size = (noise.MAX_HANDSHAKE_MESSAGE + 1).to_bytes(2, "big")
        error, took = await _refused(HEADER_LINE + line("/noise") + size, outbound=False)
        assert isinstance(error, ProtocolViolation)
        assert took == 0

    _run(main)


def test_a_dripping_peer_is_cut_off_in_time() -> None:
    async def main() -> None:
        error, took = await _refused(HEADER_LINE + line("/noise") + b"\x00\x20" + bytes(32), outbound=False, drip=True)
        assert isinstance(error, StreamClosed)
        assert took == HANDSHAKE_SECONDS

    _run(main)


def test_nothing_is_kept_of_a_flood_before_the_handshake() -> None:
    async def main() -> None:
        raw = await raw_pair()
        tracemalloc.start()
        async with trio.open_nursery() as nursery:

            async def flood() -> None:
                line_of_mine = line("/plaintext/2.0.0")
                for _ in range(1000):
                    try:
                        await raw.alice.send_all(HEADER_LINE + line_of_mine * 1000)
                    except StreamClosed:
                        return
                raise AssertionError("it took everything")

            nursery.start_soon(flood)
            before = tracemalloc.get_traced_memory()[0]
            with pytest.raises(ProtocolViolation):
                await secure(raw.bob, BOB, outbound=False, expected=None)
            assert tracemalloc.get_traced_memory()[0] - before < 2 * MIB  # the pipe's own buffer
        tracemalloc.stop()

    _run(main)


@pytest.mark.parametrize("name", ["/plaintext/2.0.0", "/tls/1.0.0", "/secio/1.0.0", ECHO])
def test_no_other_security_is_agreed_to(name: str) -> None:
    async def main() -> None:
        raw = await raw_pair()
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                with pytest.raises(StreamClosed):
                    await secure(raw.bob, BOB, outbound=False, expected=None)

            nursery.start_soon(serve)
            await raw.alice.send_all(HEADER_LINE + line(name))
            dialer, buffer = multistream.Dialer([name]), memoryview(bytearray(1000))
            while not dialer.done:
                dialer.receive(bytes(buffer[: await raw.alice.receive_into(buffer)]))
            assert dialer.failed
            await raw.alice.aclose()
        error, _took = await _refused(HEADER_LINE + multistream.NOT_AVAILABLE_LINE, outbound=True)
        assert "does not speak /noise" in str(error)

    _run(main)


@settings(max_examples=30)
@given(st.binary(max_size=300), st.booleans(), st.booleans())
def test_any_bytes_in_a_handshake_end_in_a_typed_error(data: bytes, outbound: bool, begun: bool) -> None:
    async def main() -> None:
        await _refused((HEADER_LINE + line("/noise") if begun else b"") + data, outbound=outbound)

    _run(main)


# --- an authenticated peer that follows its own rules -----------------------------------------------------------------
class _Attacker:
    """Alice, with nothing but a session: she sends what she likes."""

    def __init__(self, secured: SecureConnection) -> None:
        self._raw = secured.raw
        self.session = secured.session
        self._buffer = memoryview(bytearray(noise.FRAME_ROOM * 4))
        self._have = 0

    def seal(self, data: bytes) -> bytes:
        out = bytearray(self.session.sealed_size([data]))
        return bytes(out[: self.session.seal([data], memoryview(out))])

    async def send(self, data: bytes) -> None:
        await self._raw.send_all(self.seal(data))

    async def send_raw(self, data: bytes) -> None:
        await self._raw.send_all(data)

    async def frames(self) -> list[tuple[int, int, int, int]]:
        """Types, flags, streams and lengths of all frames until the other side closes."""
        plain = bytearray()
        try:
            while count := await self._raw.receive_into(self._buffer[self._have :]):
                self._have += count
                plains, used = self.session.open(self._buffer, self._have)
                plain += b"".join(plains)
                self._have -= used
                self._buffer[: self._have] = bytes(self._buffer[used : used + self._have])
        except StreamClosed:
            pass
        out, at = [], 0
        while at + 12 <= len(plain):
            _version, kind, flags, stream, length = struct.unpack_from(">BBHII", plain, at)
            out.append((kind, flags, stream, length))
            at += 12 + (length if kind == DATA else 0)
        return out


@asynccontextmanager
async def _attacked(
    handlers: Mapping[str, StreamHandler] | None = None,
) -> AsyncGenerator[tuple[_Attacker, MuxedConnection], None]:
    raw = await raw_pair()
    first, second = await secured_pair(raw)
    bob = MuxedConnection(second, handler_for=({ECHO: _echo} if handlers is None else handlers).get)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bob.run)
        yield _Attacker(first), bob
        await bob.close()


FATAL = {
    "another version": _frame(PING, SYN, 0, 1, version=1),
    "another type": _frame(9, 0, 1, 0),
    "our numbers": _data(2, b"x", SYN),
    "number 0": _data(0, b"x", SYN),
    "twice": _data(1, b"x", SYN) + _data(1, b"x", SYN),
    "over the window": _data(1, b"", SYN) + _frame(DATA, 0, 1, YAMUX_INITIAL_WINDOW + 1),
    "over the window at once": _frame(DATA, SYN, 1, YAMUX_INITIAL_WINDOW + 1),
    "the largest length": _frame(DATA, SYN, 1, 0xFFFF_FFFF),
    "a window that overflows": _frame(WINDOW, SYN, 1, 0xFFFF_FFFF) + _frame(WINDOW, 0, 1, 1),
    "no stream": _data(7, b"hello"),
}


@pytest.mark.parametrize("name", FATAL)
def test_frames_that_cost_the_connection(name: str) -> None:
    async def main() -> None:
        async with _attacked() as (alice, bob):
            await alice.send(FATAL[name])
            await bob.wait_closed()
            assert (GO_AWAY, 0, 0, 1) in await alice.frames()
            assert bob.statistics().inbound == 0
            assert bob.statistics().unread == 0

    _run(main)


def test_a_changed_frame_costs_the_connection() -> None:
    async def main() -> None:
        async with _attacked() as (alice, bob):
            sealed = bytearray(alice.seal(_data(1, CHOICE, SYN)))
            sealed[40] ^= 1
            await alice.send_raw(bytes(sealed))
            await bob.wait_closed()
            assert "does not open" in str(bob.closed_because)

    _run(main)


BAD_CHOICES = {
    "no UTF-8": b"\x05\xff\xff\xff\xff\n",
    "an endless line": b"\xff" * 30,
    "a scan": HEADER_LINE + line("/x") * (MULTISTREAM_MAX_LINES + 1),
    "another header": line("/multistream/2.0.0"),
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("name", BAD_CHOICES)
def test_choices_that_cost_the_stream_only(name: str) -> None:
    async def main() -> None:
        async with _attacked() as (alice, bob):
            await alice.send(_data(1, BAD_CHOICES[name], SYN) + _data(3, CHOICE + b"hello", SYN | FIN))
            await trio.sleep(1)
            assert not bob.is_closed
            await bob.close()
            rows = await alice.frames()
            assert (WINDOW, RST, 1, 0) in rows
            assert sum(row[3] for row in rows if row[0] == DATA and row[2] == 3) == len(CHOICE) + len(b"hello")

    _run(main)


def test_a_goodbye_lets_open_streams_end_and_opens_no_more() -> None:
    async def main() -> None:
        async with _attacked() as (alice, bob):
            await alice.send(_data(1, CHOICE, SYN) + _frame(GO_AWAY, 0, 0, 0))
            await trio.sleep(1)
            assert bob.is_closing
            assert not bob.is_closed
            with pytest.raises(StreamClosed):
                await bob.open_stream([ECHO])
            await alice.send(_data(1, b"", FIN))
            await bob.wait_closed()

    _run(main)


def test_a_choice_byte_by_byte_is_fine() -> None:
    async def main() -> None:
        async with _attacked() as (alice, bob):
            await alice.send(_data(1, b"", SYN) + b"".join(_data(1, bytes((byte,))) for byte in CHOICE + b"abc"))
            await alice.send(_data(1, b"", FIN))
            await trio.sleep(1)
            await bob.close()
            assert sum(row[3] for row in await alice.frames() if row[0] == DATA) == len(CHOICE) + 3

    _run(main)


def test_streams_that_never_choose_are_limited() -> None:
    async def main() -> None:
        async with _attacked() as (alice, bob):
            numbers = range(1, 2 * (YAMUX_ACCEPT_BACKLOG + 50), 2)
            await alice.send(b"".join(_data(number, b"", SYN) for number in numbers))
            await trio.sleep(1)
            assert bob.statistics().inbound == YAMUX_ACCEPT_BACKLOG
            await trio.sleep(NEGOTIATE_SECONDS + TICK_SECONDS)
            assert bob.statistics().inbound == 0
            await alice.send(_data(9999, CHOICE, SYN))
            await trio.sleep(1)
            assert bob.statistics().inbound == 1

    _run(main)


def test_streams_opened_and_reset_in_haste_start_a_bounded_number_of_handlers() -> None:
    async def main() -> None:
        running = most = 0

        async def stubborn(_stream: Stream) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await trio.sleep(1000)  # does not look at its stream
            running -= 1

        async with _attacked({ECHO: stubborn}) as (alice, bob):
            for start in range(0, 3 * YAMUX_MAX_STREAMS_IN, 100):
                numbers = range(2 * start + 1, 2 * start + 200, 2)
                await alice.send(b"".join(_data(n, CHOICE, SYN) for n in numbers))
                await wait_all_tasks_blocked()
                await alice.send(b"".join(_frame(WINDOW, RST, n, 0) for n in numbers))
                await wait_all_tasks_blocked()
            assert not bob.is_closed
            assert bob.statistics().inbound == 0
        assert most == YAMUX_MAX_STREAMS_IN

    _run(main)


def test_a_peer_that_reads_nothing_is_cut_off_and_costs_little() -> None:
    """It asks and asks, and takes no answer: its own pipe fills up, and after a while it is gone."""

    async def main() -> None:
        async with _attacked() as (alice, bob):
            sent = 0
            start = trio.current_time()
            try:
                for number in range(1, 200, 2):
                    await alice.send(_data(number, CHOICE + bytes(60_000), SYN))
                    sent += 60_000
                    await trio.sleep(0.01)
            except StreamClosed:
                pass
            assert sent > 2 * MIB
            await bob.wait_closed()
            assert trio.current_time() - start < 2 * WRITE_STALL_SECONDS

    _run(main)


def test_a_peer_that_talks_and_never_listens_is_cut_off() -> None:
    """Signs of life do not help it: what waits to be sent is not taken."""

    async def main() -> None:
        async with _attacked() as (alice, bob):
            start = trio.current_time()
            for number in range(1, 100, 2):
                await alice.send(_data(number, CHOICE + bytes(60_000), SYN))
            for _ in range(20):
                await trio.sleep(5)
                try:
                    await alice.send(_frame(PING, ACK, 0, 1))
                except StreamClosed:
                    break
            assert "took nothing" in str(bob.closed_because)
            assert trio.current_time() - start <= WRITE_STALL_SECONDS + 3 * TICK_SECONDS

    _run(main)


def test_a_flood_of_pings_whose_answers_nobody_reads() -> None:
    async def main() -> None:
        async with _attacked() as (alice, bob):
            for _ in range(100):
                try:
                    await alice.send(_frame(PING, SYN, 0, 7) * 5000)
                except StreamClosed:
                    break
            await bob.wait_closed()
            assert "does not read" in str(bob.closed_because)

    _run(main)


def test_a_promised_length_allocates_nothing() -> None:
    async def main() -> None:
        async def read(stream: Stream) -> None:
            await stream.read_message(1 << 30)

        async with _attacked({ECHO: read}) as (alice, bob):
            await alice.send(_data(1, CHOICE, SYN))
            await wait_all_tasks_blocked()
            tracemalloc.start()
            await alice.send(_data(1, b"\xff\xff\xff\xff\x03" + bytes(1000)))
            await trio.sleep(1)
            assert tracemalloc.get_traced_memory()[1] < MIB
            tracemalloc.stop()
            assert bob.statistics().inbound == 1

    _run(main)


def test_many_tiny_frames_leave_room_for_others() -> None:
    async def main() -> None:
        in_a_row = most = got = 0
        async with _attacked() as (alice, bob):
            receive = bob.engine.receive

            def counted(data: bytes, now: float) -> None:
                nonlocal in_a_row, most, got
                in_a_row += 1
                got += len(data)
                most = max(most, in_a_row)
                receive(data, now)

            bob.engine.receive = counted  # type: ignore[method-assign]
            async with trio.open_nursery() as nursery:

                async def other() -> None:
                    nonlocal in_a_row
                    while True:
                        in_a_row = 0
                        await trio.lowlevel.checkpoint()

                nursery.start_soon(other)
                await trio.lowlevel.checkpoint()
                await alice.send(_data(1, CHOICE, SYN) + _frame(WINDOW, 0, 1, 1) * 60_000)
                while got < 12 * 60_000:
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            assert not bob.is_closed
        assert 1 <= most <= 2  # plaintexts of 64 KiB between two turns of another task

    _run(main)


def test_one_hostile_connection_leaves_another_alone() -> None:
    async def main() -> None:
        async with connected({ECHO: _echo}) as pair, _attacked() as (alice, bob):
            stream = await pair.alice.open_stream([ECHO])
            await alice.send(FATAL["over the window"])
            await bob.wait_closed()
            await stream.write(b"fine")
            assert await stream.read_exactly(4) == b"fine"

    _run(main)


@settings(max_examples=40)
@given(st.lists(st.tuples(
    st.sampled_from([0, 0, 1, 2, 3]), st.integers(0, 15), st.sampled_from([0, 1, 3, 2]),
    st.binary(max_size=40) | st.sampled_from([CHOICE, CHOICE + b"hello", HEADER_LINE, line(ECHO)]),
), max_size=10))  # fmt: skip
def test_any_frames_end_at_most_their_connection(rows: list[tuple[int, int, int, bytes]]) -> None:
    async def main() -> None:
        async with _attacked() as (alice, bob):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("ipfs_kit_py.net.connection.log.exception", _unexpected)
                frames = [
                    _frame(kind, flags, n, len(body), body if kind == 0 else b"") for kind, flags, n, body in rows
                ]
                await alice.send(b"".join(frames))
                await trio.sleep(200)
                await bob.close()
                assert bob.closed_because

    _run(main)


def _unexpected(message: str, *args: object) -> None:
    raise AssertionError(message % args)


@settings(max_examples=20)
@given(st.binary(min_size=1, max_size=200))
def test_any_sealed_or_unsealed_bytes_end_at_most_their_connection(data: bytes) -> None:
    async def main() -> None:
        async with _attacked() as (alice, bob):
            await alice.send(data)
            await alice.send_raw(data)
            await trio.sleep(200)
            await bob.close()

    _run(main)


def test_the_other_end_may_be_hostile_too() -> None:
    """A dialled peer that answers the choice of a protocol with nonsense costs that stream."""

    async def main() -> None:
        raw = await raw_pair()
        first, second = await secured_pair(raw)
        alice, bob = MuxedConnection(first, handler_for=lambda _name: None), _Attacker(second)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.run)

            async def answer() -> None:
                await bob.send(_data(1, HEADER_LINE + line("/something/else"), ACK))

            nursery.start_soon(answer)
            stream = await alice.open_stream([ECHO], known=[ECHO])
            await stream.write(b"x")
            with pytest.raises(StreamClosed, match="answers the proposal"):
                await stream.read(1)
            assert not alice.is_closed
            assert alice.peer_id == BOB.peer_id()
            assert ALICE.peer_id() != BOB.peer_id()
            await alice.close()

    _run(main)
