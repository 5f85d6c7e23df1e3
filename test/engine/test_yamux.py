"""yamux: two engines with a link between them, by property, and single frames by hand."""

from __future__ import annotations

import random
import struct
import tracemalloc
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.core.config import (
    MIB,
    WRITE_STALL_SECONDS,
    YAMUX_ACCEPT_BACKLOG,
    YAMUX_CLOSE_SECONDS,
    YAMUX_DISCARD_BYTES,
    YAMUX_INITIAL_WINDOW,
    YAMUX_MAX_CONNECTION_BUFFER,
    YAMUX_MAX_CONTROL_BYTES,
    YAMUX_MAX_STREAMS_IN,
    YAMUX_MAX_WINDOW,
    YAMUX_PING_INTERVAL,
    YAMUX_PING_TIMEOUT,
    YAMUX_QUANTUM,
)
from ipfs_kit_py.core.errors import ProtocolViolation
from ipfs_kit_py.net.yamux import Kind, Yamux
from ipfs_kit_py.net.yamux_stream import StreamState, Write

DATA, WINDOW, PING, GO_AWAY = 0, 1, 2, 3
SYN, ACK, FIN, RST = 1, 2, 4, 8


def _frame(kind: int, flags: int, stream: int, length: int, payload: bytes = b"", version: int = 0) -> bytes:
    return struct.pack(">BBHII", version, kind, flags, stream, length) + payload


def _frames(data: bytes) -> list[tuple[int, int, int, int]]:
    """Type, flags, stream and length of each."""
    out, at = [], 0
    while at < len(data):
        _version, kind, flags, stream, length = struct.unpack_from(">BBHII", data, at)
        out.append((kind, flags, stream, length))
        at += 12 + (length if kind == DATA else 0)
    return out


def _out(engine: Yamux, now: float = 0.0, budget: int = 1 << 30) -> bytes:
    data = b"".join(engine.gather(budget, now))
    for write in engine.take_sealed():
        write.finish()
    return data


def _server() -> Yamux:
    return Yamux(client=False, now=0.0)


def _opened(engine: Yamux, number: int = 1, payload: bytes = b"", now: float = 0.0) -> StreamState:
    engine.receive(_frame(DATA, SYN, number, len(payload), payload), now)
    (event,) = [item for item in engine.take_events() if item.kind is Kind.OPENED]
    assert event.stream is not None
    return event.stream


def _take(engine: Yamux, stream: StreamState, size: int | None = None, now: float = 0.0) -> bytes:
    """Read what is there, as the driver does."""
    out = bytearray()
    while stream.chunks and (size is None or len(out) < size):
        chunk = bytes(stream.chunks.popleft())
        if size is not None and len(chunk) > size - len(out):
            room = size - len(out)
            stream.chunks.appendleft(chunk[room:])
            chunk = chunk[:room]
        out += chunk
    engine.consumed(stream, len(out), now)
    return bytes(out)


# --- pairs ------------------------------------------------------------------------------------------------------------
class _World:
    """Two engines, the bytes between them, and what each stream should bring."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now = 0.0
        self.sides = [Yamux(client=True, now=0.0), Yamux(client=False, now=0.0)]
        self.wire = [bytearray(), bytearray()]  # towards side 0, towards side 1
        self.sent: dict[tuple[int, int], bytearray] = {}  # (sending side, stream) -> bytes
        self.got: dict[tuple[int, int], bytearray] = {}
        self.streams: list[dict[int, StreamState]] = [{}, {}]
        self.unborn: list[list[tuple[StreamState, bytearray]]] = [[], []]

    def send(self, side: int, stream: StreamState, size: int) -> None:
        data = self.rng.randbytes(size)
        self.sides[side].send(stream, Write((data[: size // 2], data[size // 2 :])), self.now)
        if stream.id:
            self.sent.setdefault((side, stream.id), bytearray()).extend(data)
        else:
            self.unborn[side].append((stream, bytearray(data)))

    def pump(self, side: int, most: int | None = None) -> None:
        """Let a side send something, and bring a piece of what is under way to the other."""
        data = _out(self.sides[side], self.now, most or self.rng.choice([1, 5000, 300_000]))
        for stream, written in self.unborn[side]:
            if stream.id:
                self.streams[side][stream.id] = stream
                self.sent.setdefault((side, stream.id), bytearray()).extend(written)
        self.unborn[side] = [row for row in self.unborn[side] if not row[0].id]
        wire, other = self.wire[1 - side], 1 - side
        wire += data
        piece = bytes(wire[: most or self.rng.choice([1, 11, 13, 4096, 65_519, 65_519, 65_519])])
        del wire[: len(piece)]
        self.sides[other].receive(piece, self.now)
        for event in self.sides[other].take_events():
            if event.kind is Kind.OPENED:
                assert event.stream is not None
                self.streams[other][event.stream.id] = event.stream
                self.sides[other].accept(event.stream)

    def read(self, side: int, stream: StreamState, most: int | None = None) -> None:
        data = _take(self.sides[side], stream, most or self.rng.choice([1, 1000, 1 << 20]), self.now)
        self.got.setdefault((1 - side, stream.id), bytearray()).extend(data)

    def step(self) -> None:
        self.now += self.rng.choice([0.0, 0.0001, 0.01])
        side, choice = self.rng.randrange(2), self.rng.random()
        engine, known = self.sides[side], list(self.streams[side].values())
        if choice < 0.08:
            self.send(side, engine.open(self.now), self.rng.choice([1, 100, 70_000]))
        elif choice < 0.2 and known:
            stream = self.rng.choice(known)
            if not stream.fin_wanted:
                self.send(side, stream, self.rng.choice([1, 1, 5000, 5000, 300_000]))
        elif choice < 0.24 and known:
            engine.finish(self.rng.choice(known))
        elif choice < 0.5 and known:
            self.read(side, self.rng.choice(known))
        else:
            self.pump(side)

    def drain(self) -> None:
        """Bring everything to its end: all is read, every stream is closed by both."""
        for _ in range(2000):
            self.now += 0.001
            for side in range(2):
                self.pump(side, 1 << 20)
            for side in range(2):
                for stream in self.streams[side].values():
                    self.read(side, stream, 1 << 30)
                for stream in [*self.streams[side].values(), *(row[0] for row in self.unborn[side])]:
                    self.sides[side].finish(stream)
            if not (any(engine.has_output for engine in self.sides) or any(self.wire) or any(self.unborn)):
                return
        raise AssertionError("it never comes to rest")


@settings(max_examples=60)
@given(st.integers(0, 1 << 32), st.integers(50, 400))
def test_every_byte_arrives_once_and_in_order(seed: int, steps: int) -> None:
    world = _World(random.Random(seed))
    for _ in range(steps):
        world.step()
    world.drain()
    assert {key: data for key, data in world.got.items() if data} == {key: d for key, d in world.sent.items() if d}
    for engine in world.sides:
        found = engine.statistics()
        assert (found.inbound, found.outbound, found.waiting, found.unread, found.granted) == (0, 0, 0, 0, 0)
        assert engine.can_open


@settings(max_examples=40)
@given(st.integers(0, 1 << 32), st.integers(30, 300))
def test_resets_at_any_moment_leave_nothing_behind(seed: int, steps: int) -> None:
    rng = random.Random(seed)
    world = _World(rng)
    for _ in range(steps):
        world.step()
        if rng.random() < 0.1:
            side = rng.randrange(2)
            everyone = [*world.streams[side].values(), *(row[0] for row in world.unborn[side])]
            if everyone:
                world.sides[side].reset(rng.choice(everyone), "reset here")
    for side in range(2):
        for stream in [*world.streams[side].values(), *(row[0] for row in world.unborn[side])]:
            world.sides[side].reset(stream, "reset here")
        world.unborn[side] = []
    for _ in range(200):
        for side in range(2):
            world.pump(side, 1 << 20)
            for stream in world.streams[side].values():
                world.sides[side].reset(stream, "reset here")
        if not (any(engine.has_output for engine in world.sides) or any(world.wire)):
            break
    for engine in world.sides:
        found = engine.statistics()
        assert (found.inbound, found.outbound, found.waiting, found.unread, found.granted) == (0, 0, 0, 0, 0)


@given(st.binary(max_size=400))
def test_any_bytes_are_taken_or_a_violation(data: bytes) -> None:
    engine = _server()
    try:
        for at in range(0, len(data), 7):
            engine.receive(data[at : at + 7], 0.0)
    except ProtocolViolation:
        pass
    engine.take_events()
    assert engine.close("over") is not None
    assert engine.statistics().inbound == 0


@settings(max_examples=300)
@given(st.lists(st.tuples(
    st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4]), st.integers(0, 15), st.sampled_from([0, 1, 2, 3, 5]),
    st.sampled_from([0, 1, 12, 5000, YAMUX_INITIAL_WINDOW, YAMUX_INITIAL_WINDOW + 1, 0xFFFFFFFF]),
), max_size=12))  # fmt: skip
def test_any_frames_are_taken_or_a_violation(rows: list[tuple[int, int, int, int]]) -> None:
    engine = _server()
    try:
        for kind, flags, stream, length in rows:
            payload = bytes(min(length, YAMUX_INITIAL_WINDOW)) if kind == DATA else b""
            engine.receive(_frame(kind, flags, stream, length, payload), 0.0)
            assert engine.unread <= len(rows) * YAMUX_INITIAL_WINDOW
    except ProtocolViolation:
        pass
    for event in engine.take_events():
        if event.stream is not None:
            engine.close_read(event.stream, 0.0)
    _out(engine)
    for stream in engine.close("over"):
        assert stream.gone
    found = engine.statistics()
    assert (found.inbound, found.waiting, found.unread, found.granted) == (0, 0, 0, 0)


# --- opening ----------------------------------------------------------------------------------------------------------
def test_the_first_frame_carries_syn_and_the_first_answer_ack() -> None:
    client, server = Yamux(client=True, now=0.0), _server()
    ours = client.open(0.0)
    assert not client.has_output  # nothing to say yet: the remote need not know
    client.send(ours, Write((b"hello",)), 0.0)
    sent = _out(client)
    assert _frames(sent) == [(DATA, SYN, 1, 5)]
    server.receive(sent, 0.0)
    opened, readable = server.take_events()
    assert (opened.kind, readable.kind) == (Kind.OPENED, Kind.READABLE)
    assert opened.stream is not None
    assert _take(server, opened.stream) == b"hello"
    server.send(opened.stream, Write((b"you",)), 0.0)
    server.send(opened.stream, Write((b" too",)), 0.0)
    server.finish(opened.stream)
    assert _frames(_out(server)) == [(DATA, ACK, 1, 7), (DATA, FIN, 1, 0)]


def test_numbers_leave_in_order_whatever_was_opened_first() -> None:
    client = Yamux(client=True, now=0.0)
    first, second = client.open(0.0), client.open(0.0)
    client.send(second, Write((b"2",)), 0.0)
    client.send(first, Write((b"1",)), 0.0)
    assert [row[2] for row in _frames(_out(client))] == [1, 3]
    assert (first.id, second.id) == (3, 1)


def test_a_stream_reset_before_its_first_frame_leaves_no_trace() -> None:
    client = Yamux(client=True, now=0.0)
    stream = client.open(0.0)
    client.send(stream, Write((b"never",)), 0.0)
    client.reset(stream, "changed our mind")
    assert _out(client) == b""
    assert client.statistics().outbound == 0


def test_ack_rides_on_a_window_update() -> None:
    server = _server()
    stream = _opened(server, 1, bytes(YAMUX_INITIAL_WINDOW))
    _take(server, stream, now=1.0)
    assert _frames(_out(server)) == [(WINDOW, ACK, 1, YAMUX_INITIAL_WINDOW)]
    assert stream.acked


def test_a_full_backlog_refuses_the_stream_and_not_the_connection() -> None:
    server = _server()
    for number in range(1, 2 * YAMUX_ACCEPT_BACKLOG, 2):
        _opened(server, number)
    late = 2 * YAMUX_ACCEPT_BACKLOG + 1
    server.receive(_frame(DATA, SYN, late, 4, b"late"), 0.0)
    assert [event.kind for event in server.take_events()] == []
    assert _frames(_out(server)) == [(WINDOW, RST, late, 0)]
    assert server.statistics().waiting == YAMUX_ACCEPT_BACKLOG


def test_streams_are_limited_and_slots_come_back() -> None:
    server = _server()
    streams = []
    for number in range(1, 2 * YAMUX_MAX_STREAMS_IN, 2):
        streams.append(_opened(server, number))
        server.accept(streams[-1])
    server.receive(_frame(WINDOW, SYN, 99_999, 0), 0.0)
    assert _frames(_out(server)) == [(WINDOW, RST, 99_999, 0)]
    server.reset(streams[0], "done")
    assert _opened(server, 99_999).id == 99_999


def test_our_own_streams_wait_for_acknowledgement() -> None:
    client = Yamux(client=True, now=0.0)
    streams = [client.open(0.0) for _ in range(YAMUX_ACCEPT_BACKLOG)]
    assert not client.can_open
    client.send(streams[0], Write((b"x",)), 0.0)
    _out(client)
    client.receive(_frame(WINDOW, ACK, 1, 0), 0.0)
    assert client.can_open


@pytest.mark.parametrize("number", [2, 0])
def test_numbers_that_are_not_the_remotes(number: int) -> None:
    with pytest.raises(ProtocolViolation):
        _server().receive(_frame(DATA, SYN, number, 0), 0.0)


def test_a_stream_opened_twice() -> None:
    server = _server()
    _opened(server)
    with pytest.raises(ProtocolViolation, match="twice"):
        server.receive(_frame(DATA, SYN, 1, 0), 0.0)


# --- windows ----------------------------------------------------------------------------------------------------------
def test_more_than_the_window_ends_the_connection_before_any_of_it_is_kept() -> None:
    server = _server()
    _opened(server, 1, bytes(YAMUX_INITIAL_WINDOW))
    tracemalloc.start()
    with pytest.raises(ProtocolViolation, match="window"):
        server.receive(_frame(DATA, 0, 1, 0xFFFF_FFFF), 0.0)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_syn_with_more_than_the_initial_window() -> None:
    with pytest.raises(ProtocolViolation, match="window"):
        _server().receive(_frame(DATA, SYN, 1, YAMUX_INITIAL_WINDOW + 1), 0.0)


def test_a_window_that_overflows() -> None:
    server = _server()
    _opened(server)
    server.receive(_frame(WINDOW, 0, 1, 0xFFFF_FFFF - YAMUX_INITIAL_WINDOW), 0.0)
    with pytest.raises(ProtocolViolation, match="32 bits"):
        server.receive(_frame(WINDOW, 0, 1, 1), 0.0)


def test_we_keep_within_the_remotes_window() -> None:
    client = Yamux(client=True, now=0.0)
    stream = client.open(0.0)
    write = Write((bytes(YAMUX_INITIAL_WINDOW + 10),))
    client.send(stream, write, 0.0)
    assert sum(row[3] for row in _frames(_out(client))) == YAMUX_INITIAL_WINDOW
    assert not client.has_output
    assert not write.done
    client.receive(_frame(WINDOW, ACK, 1, 4), 0.0)
    client.receive(_frame(WINDOW, 0, 1, 100), 0.0)
    assert _frames(_out(client)) == [(DATA, 0, 1, 10)]
    assert write.done


def test_updates_come_by_the_half_window() -> None:
    server = _server()
    stream = _opened(server, 1, bytes(YAMUX_INITIAL_WINDOW))
    frames = []
    for turn in range(YAMUX_INITIAL_WINDOW // 1024):
        _take(server, stream, 1024, now=10.0 + turn)
        frames += _frames(_out(server))
    assert [row[3] for row in frames] == [YAMUX_INITIAL_WINDOW // 2] * 2


@cache
def _zeros(size: int) -> bytes:
    return bytes(size)


def _consume_at(rate: float, rtt: float, seconds: float) -> int:
    """The window after a reader has taken ``rate`` bytes a second, as they came, over a line of that round trip."""
    server = _server()
    server._pings.rtt = rtt
    stream, now = _opened(server), 0.0
    while now < seconds:
        size = min(stream.credit, int(rate * rtt) or 1)
        now += size / rate
        server.receive(_frame(DATA, 0, 1, size), now)
        server.receive(_zeros(size), now)
        _take(server, stream, now=now)
        _out(server, now)
    return stream.target


def test_a_window_grows_with_bandwidth_times_round_trip_and_no_further() -> None:
    assert _consume_at(rate=1 * MIB, rtt=0.01, seconds=2.0) == YAMUX_INITIAL_WINDOW
    wide = _consume_at(rate=100 * MIB, rtt=0.05, seconds=2.0)
    assert 5 * MIB <= wide <= YAMUX_MAX_WINDOW
    assert _consume_at(rate=100 * MIB, rtt=0.5, seconds=5.0) == YAMUX_MAX_WINDOW


def test_a_window_does_not_grow_for_a_reader_that_lags() -> None:
    server = _server()
    server._pings.rtt = 1.0
    stream, now = _opened(server), 0.0
    for _ in range(200):
        now += 0.001
        size = stream.credit
        server.receive(_frame(DATA, 0, 1, size, bytes(size)), now)
        while stream.unread > stream.target * 3 // 5:
            _take(server, stream, 1024, now)
        if stream.target - stream.unread - stream.credit < stream.target // 2:
            _take(server, stream, stream.target // 10, now)
        _out(server, now)
    assert stream.target <= 2 * YAMUX_INITIAL_WINDOW


def test_all_windows_together_are_bounded() -> None:
    server = _server()
    server._pings.rtt = 1.0
    streams = [_opened(server, number) for number in range(1, 41, 2)]
    for turn in range(12):
        for stream in streams:
            size = stream.credit
            server.receive(_frame(DATA, 0, stream.id, size, bytes(size)), turn * 0.01)
            _take(server, stream, now=turn * 0.01)
            _out(server, turn * 0.01)
    found = server.statistics()
    assert 8 * MIB < found.granted <= YAMUX_MAX_CONNECTION_BUFFER
    assert found.granted == sum(stream.target for stream in streams)


def test_unread_bytes_of_a_connection_are_bounded() -> None:
    server = _server()
    payload = bytes(YAMUX_INITIAL_WINDOW)
    resets = 0
    for number in range(1, 2 * YAMUX_MAX_STREAMS_IN, 2):
        server.accept(_opened_with_reset(server, number, payload))
        assert server.unread <= YAMUX_MAX_CONNECTION_BUFFER
    resets = sum(1 for kind, flags, _stream, _length in _frames(_out(server)) if kind == WINDOW and flags == RST)
    assert resets == YAMUX_MAX_STREAMS_IN - YAMUX_MAX_CONNECTION_BUFFER // YAMUX_INITIAL_WINDOW


def _opened_with_reset(engine: Yamux, number: int, payload: bytes) -> StreamState:
    engine.receive(_frame(DATA, SYN, number, len(payload), payload), 0.0)
    return next(item.stream for item in engine.take_events() if item.kind is Kind.OPENED and item.stream is not None)


def test_tiny_frames_do_not_cost_many_times_their_size() -> None:
    server = _server()
    stream = _opened(server)
    frames = _frame(DATA, 0, 1, 1, b"x") * 1000
    tracemalloc.start()
    for _ in range(20):
        server.receive(frames, 0.0)
    assert tracemalloc.get_traced_memory()[0] < 3 * stream.unread
    tracemalloc.stop()
    assert _take(server, stream) == b"x" * 20_000


def test_a_small_piece_does_not_hold_the_frame_it_came_in() -> None:
    server = _server()
    small, large = _opened(server, 1), _opened(server, 3)
    server.receive(_frame(DATA, 0, 1, 3, b"abc") + _frame(DATA, 0, 3, 60_000, bytes(60_000)), 0.0)
    assert isinstance(small.chunks[0], bytearray)
    assert isinstance(large.chunks[0], memoryview)  # most of the frame: kept where it is


# --- fairness ---------------------------------------------------------------------------------------------------------
def test_streams_take_turns_and_control_goes_first() -> None:
    client = Yamux(client=True, now=0.0)
    streams = [client.open(0.0) for _ in range(3)]
    for stream in streams:
        client.send(stream, Write((bytes(200_000),)), 0.0)
    client.ping(0.0)
    rows = _frames(_out(client, budget=6 * YAMUX_QUANTUM))
    assert rows[0][0] == PING
    assert [row[2] for row in rows[1:7]] == [1, 3, 5, 1, 3, 5]
    assert all(row[3] <= YAMUX_QUANTUM for row in rows[1:])


def test_a_lone_stream_has_the_whole_batch() -> None:
    client = Yamux(client=True, now=0.0)
    client.send(client.open(0.0), Write((bytes(200_000),)), 0.0)
    assert [row[3] for row in _frames(_out(client, budget=150_000))] == [150_000]


# --- ends -------------------------------------------------------------------------------------------------------------
def test_half_close_each_way() -> None:
    client, server = Yamux(client=True, now=0.0), _server()
    ours = client.open(0.0)
    client.send(ours, Write((b"question",)), 0.0)
    client.finish(ours)
    server.receive(_out(client), 0.0)
    theirs = next(event.stream for event in server.take_events() if event.kind is Kind.OPENED)
    assert theirs is not None
    assert theirs.fin_received
    assert _take(server, theirs) == b"question"
    server.send(theirs, Write((b"answer",)), 0.0)
    server.finish(theirs)
    client.receive(_out(server), 0.0)
    assert _take(client, ours) == b"answer"
    assert ours.gone
    assert theirs.gone
    assert not ours.reset


def test_what_is_written_after_the_end_is_dropped_and_released() -> None:
    client, released = Yamux(client=True, now=0.0), []
    stream = client.open(0.0)
    client.send(stream, Write((b"x",)), 0.0)
    client.finish(stream)
    late = Write((b"late",), lambda: released.append(1))
    client.send(stream, late, 0.0)
    assert late.dropped
    assert released == [1]


def test_bytes_after_the_end_cost_the_stream() -> None:
    server = _server()
    stream = _opened(server, 1, b"x")
    server.receive(_frame(DATA, FIN, 1, 0), 0.0)
    server.take_events()
    server.receive(_frame(DATA, 0, 1, 4, b"more") + _frame(DATA, SYN, 3, 0), 0.0)
    assert [event.kind for event in server.take_events()] == [Kind.RESET, Kind.OPENED]
    assert stream.reset


def test_a_reset_drops_what_waits_and_calls_release_once() -> None:
    client, released = Yamux(client=True, now=0.0), []
    stream = client.open(0.0)
    write = Write((bytes(10), bytes(YAMUX_INITIAL_WINDOW)), lambda: released.append(1))
    client.send(stream, write, 0.0)
    _out(client)
    assert released == []
    client.receive(_frame(WINDOW, RST, 1, 0), 0.0)
    assert released == [1]
    assert write.dropped
    client.reset(stream, "again")
    assert released == [1]
    assert _out(client) == b""


def test_frames_for_a_stream_that_is_gone_are_dropped_as_far_as_its_window_went() -> None:
    server = _server()
    stream = _opened(server, 1, bytes(1000))
    server.reset(stream, "not wanted")
    under_way = YAMUX_INITIAL_WINDOW - 1000
    server.receive(_frame(WINDOW, 0, 1, 77) + _frame(DATA, 0, 1, under_way, bytes(under_way)), 0.0)
    assert server.unread == 0
    with pytest.raises(ProtocolViolation, match="not open"):
        server.receive(_frame(DATA, FIN, 1, 1, b"x"), 0.0)


def test_bytes_for_a_stream_that_never_was() -> None:
    with pytest.raises(ProtocolViolation, match="not open"):
        _server().receive(_frame(DATA, 0, 1, 5, b"hello"), 0.0)


def test_a_reset_in_the_middle_of_a_payload() -> None:
    server = _server()
    stream = _opened(server)
    server.receive(_frame(DATA, 0, 1, 100, bytes(40)), 0.0)
    server.reset(stream, "enough")
    server.receive(bytes(60) + _frame(DATA, SYN, 3, 2, b"ok"), 0.0)
    assert server.statistics().unread == 2


def test_a_little_may_come_after_close_and_no_more() -> None:
    server = _server()
    stream = _opened(server)
    server.finish(stream)
    server.close_read(stream, 0.0)
    server.receive(_frame(DATA, 0, 1, YAMUX_DISCARD_BYTES, bytes(YAMUX_DISCARD_BYTES)), 0.0)
    assert not stream.reset
    assert server.unread == 0
    server.receive(_frame(DATA, 0, 1, 1, b"x"), 0.0)
    assert stream.reset


def test_a_stream_that_the_remote_never_closes() -> None:
    server = _server()
    stream = _opened(server)
    server.finish(stream)
    server.close_read(stream, 5.0)
    _out(server)
    assert server.deadline() <= 5.0 + YAMUX_CLOSE_SECONDS
    server.on_timeout(4.9 + YAMUX_CLOSE_SECONDS)
    assert not stream.gone
    server.on_timeout(5.0 + YAMUX_CLOSE_SECONDS)
    assert stream.gone
    assert server.statistics().inbound == 0


def test_a_write_that_the_remote_does_not_take_costs_its_stream() -> None:
    client = Yamux(client=True, now=0.0)
    slow, idle = client.open(0.0), client.open(0.0)
    write = Write((bytes(YAMUX_INITIAL_WINDOW + 1),))
    client.send(slow, write, 100.0)
    client.send(idle, Write((b"x",)), 100.0)
    _out(client, 100.0)
    client.on_timeout(99.0 + WRITE_STALL_SECONDS)
    assert not slow.reset
    client.on_timeout(100.0 + WRITE_STALL_SECONDS)
    assert slow.reset
    assert write.dropped
    assert not idle.reset


def test_go_away() -> None:
    server = _server()
    stream = _opened(server)
    server.go_away(0)
    server.go_away(1)
    server.receive(_frame(DATA, SYN, 3, 0), 0.0)
    assert _frames(_out(server)) == [(GO_AWAY, 0, 0, 0), (WINDOW, RST, 3, 0)]
    server.receive(_frame(GO_AWAY, 0, 0, 2), 0.0)
    assert server.remote_gone
    assert server.remote_code == 2
    assert not stream.gone


# --- pings, other frames ----------------------------------------------------------------------------------------------
def test_pings_are_answered_and_measure() -> None:
    client, server = Yamux(client=True, now=0.0), _server()
    number = client.ping(1.0)
    server.receive(_out(client), 1.2)
    client.receive(_out(server), 1.5)
    (event,) = client.take_events()
    assert (event.kind, event.value) == (Kind.PONG, number)
    assert client.rtt == pytest.approx(0.5)
    client.receive(_frame(PING, ACK, 0, 4711), 1.5)  # nobody asked
    assert client.take_events() == []


def test_a_silent_remote_is_dead() -> None:
    client = Yamux(client=True, now=0.0)
    assert client.on_timeout(0.0) is None
    assert [row[0] for row in _frames(_out(client))] == [PING]
    assert client.deadline() == pytest.approx(YAMUX_PING_TIMEOUT)
    client.receive(_frame(PING, SYN, 0, 1), 10.0)  # any sign of life counts
    assert client.on_timeout(YAMUX_PING_TIMEOUT) is None
    assert "nothing was heard" in str(client.on_timeout(10.0 + YAMUX_PING_TIMEOUT))


def test_an_idle_connection_is_pinged_again() -> None:
    client = Yamux(client=True, now=0.0)
    client.on_timeout(0.0)
    client.receive(_frame(PING, ACK, 0, 1), 0.1)
    _out(client)
    assert client.deadline() == pytest.approx(YAMUX_PING_INTERVAL)
    client.on_timeout(YAMUX_PING_INTERVAL)
    assert [row[0] for row in _frames(_out(client))] == [PING]


def test_a_flood_of_pings_that_reads_no_answer() -> None:
    server = _server()
    with pytest.raises(ProtocolViolation, match="does not read"):
        server.receive(_frame(PING, SYN, 0, 1) * (YAMUX_MAX_CONTROL_BYTES // 12 + 10), 0.0)


@pytest.mark.parametrize("frame", [_frame(DATA, SYN, 1, 0, version=1), _frame(4, 0, 1, 0), _frame(255, 0, 0, 0)])
def test_frames_that_are_none(frame: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        _server().receive(frame, 0.0)


def test_closing_ends_every_stream_and_releases_every_write() -> None:
    client, released = Yamux(client=True, now=0.0), []
    streams = [client.open(0.0) for _ in range(3)]
    client.send(streams[0], Write((bytes(YAMUX_INITIAL_WINDOW * 2),), lambda: released.append(0)), 0.0)
    _out(client)
    client.send(streams[1], Write((b"queued",), lambda: released.append(1)), 0.0)
    assert set(client.close("over")) == set(streams)
    assert sorted(released) == [0, 1]
    assert all(stream.reason == "over" for stream in streams)
    assert not client.has_output


def test_their_state_can_be_read() -> None:
    server = _server()
    stream = _opened(server, 1, b"abc")
    assert repr(stream) == "<StreamState 1 open, 3 unread, 262141 of 262144 to come, 0 to go, window 262144>"
    assert repr(server) == "<Yamux open, 1 streams, 3 bytes unread, rtt None>"
