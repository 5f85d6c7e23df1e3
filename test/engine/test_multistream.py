"""multistream-select: two engines with a link between them, and what a hostile end may send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core import varint
from ipfs_kit_py.core.config import MULTISTREAM_LINE_BYTES, MULTISTREAM_MAX_LINES
from ipfs_kit_py.core.errors import ProtocolViolation
from ipfs_kit_py.net.multistream import HEADER_LINE, NOT_AVAILABLE_LINE, Dialer, Listener, line

NAMES = st.lists(st.sampled_from(["/a/1.0.0", "/b/1.0.0", "/c/1.0.0", "/d/2.0.0"]), min_size=1, max_size=4, unique=True)


def _cut(data: bytes, cuts: st.DataObject) -> list[bytes]:
    out = []
    while data:
        size = cuts.draw(st.integers(1, len(data)))
        out.append(data[:size])
        data = data[size:]
    return out


@given(NAMES, st.sets(st.sampled_from(["/a/1.0.0", "/c/1.0.0", "/x"])), st.data())
def test_both_ends_agree_however_the_bytes_are_cut(offered: list[str], served: set[str], cuts: st.DataObject) -> None:
    dialer, listener = Dialer(offered), Listener(served.__contains__)
    while True:
        there, back = dialer.take(), listener.take()
        if not there and not back:
            break
        for piece in _cut(there, cuts):
            listener.receive(piece)
        for piece in _cut(back, cuts):
            dialer.receive(piece)
    expected = next((name for name in offered if name in served), None)
    assert dialer.protocol == listener.protocol == expected
    assert dialer.failed == (expected is None)
    assert dialer.done


def test_the_first_proposal_and_data_leave_together() -> None:
    dialer, listener = Dialer(["/a"]), Listener("/a".__eq__)
    listener.receive(dialer.take() + b"\x05hello")
    assert listener.protocol == "/a"
    assert listener.rest == b"\x05hello"
    dialer.receive(listener.take() + b"answer")
    assert dialer.protocol == "/a"
    assert dialer.rest == b"answer"


def test_the_bytes_on_the_wire() -> None:
    assert Dialer(["/noise"]).take() == b"\x13/multistream/1.0.0\n\x07/noise\n"
    listener = Listener("/noise".__eq__)
    listener.receive(b"\x13/multistream/1.0.0\n\x05/tls\n\x07/noise\n")
    assert listener.take() == b"\x13/multistream/1.0.0\n\x03na\n\x07/noise\n"


def test_a_header_alone_is_answered() -> None:
    listener = Listener("/a".__eq__)
    listener.receive(HEADER_LINE)
    assert listener.take() == HEADER_LINE  # some dialers propose only after it
    assert not listener.done


def test_a_header_that_comes_before_ours_was_sent() -> None:
    dialer = Dialer(["/a", "/b"])
    dialer.receive(HEADER_LINE)
    assert dialer.take() == HEADER_LINE + line("/a")
    dialer.receive(NOT_AVAILABLE_LINE)
    assert dialer.take() == line("/b")
    dialer.receive(line("/b"))
    assert dialer.protocol == "/b"


def test_ls_is_refused_and_the_stream_goes_on() -> None:
    listener = Listener("/a".__eq__)
    listener.receive(HEADER_LINE + line("ls"))
    assert listener.take() == HEADER_LINE + NOT_AVAILABLE_LINE
    listener.receive(line("/a"))
    assert listener.protocol == "/a"


BAD = {
    "no UTF-8": b"\x04\xff\xfe\xfd\n",
    "no newline": b"\x03abc",
    "empty": b"\x00",
    "too long": varint.encode(MULTISTREAM_LINE_BYTES + 1),
    "huge": varint.encode(1 << 40),
    "endless length": b"\xff" * 20,
    "not the header": line("/http/1.1"),
    "a TLS hello": bytes.fromhex("16030100f8010000f40303") + bytes(32),
    "HTTP": b"GET / HTTP/1.1\r\nHost: example.org\r\nUser-Agent: a browser of some length\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD)
def test_lines_that_end_a_negotiation(name: str) -> None:
    with pytest.raises(ProtocolViolation):
        Listener("/a".__eq__).receive(BAD[name])
    with pytest.raises(ProtocolViolation):
        Dialer(["/a"]).receive(BAD[name])


def test_an_answer_to_another_question() -> None:
    dialer = Dialer(["/a"])
    with pytest.raises(ProtocolViolation, match="answers"):
        dialer.receive(HEADER_LINE + line("/b"))


def test_a_scan_is_ended() -> None:
    listener = Listener("/a".__eq__)
    with pytest.raises(ProtocolViolation, match="more than"):
        listener.receive(HEADER_LINE + line("/x") * MULTISTREAM_MAX_LINES)


def test_the_longest_line_is_taken() -> None:
    name = "/" + "x" * (MULTISTREAM_LINE_BYTES - 2)
    listener = Listener(name.__eq__)
    listener.receive(HEADER_LINE + line(name))
    assert listener.protocol == name


@given(st.binary(max_size=300))
def test_any_bytes_are_waited_for_or_a_violation(data: bytes) -> None:
    for engine in (Dialer(["/a"]), Listener("/a".__eq__)):
        try:
            engine.receive(data)
        except ProtocolViolation:
            continue
        assert not engine.done
