"""multistream-select 1.0: how both ends of a pipe or stream agree on its protocol. Sans-I/O.

The dialer's header and first proposal leave together, and when only one protocol is on offer its user's first bytes may
follow at once ("V1Lazy"). The listener answers the header as soon as it has it, so neither side ever waits for the
other to begin. Both ends are bounded in the length and number of lines.

Source: multiformats/multistream-select, libp2p/specs connections/README.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.core import varint
from ipfs_kit_py.core.config import MULTISTREAM_LINE_BYTES, MULTISTREAM_MAX_LINES
from ipfs_kit_py.core.errors import ProtocolViolation
from ipfs_kit_py.core.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Buffer

HEADER = "/multistream/1.0.0"
NOT_AVAILABLE = "na"

_LENGTH_BYTES = 2  # of a line's varint length; MULTISTREAM_LINE_BYTES needs no more


def line(text: str) -> bytes:
    """One line as it is sent: its length with the newline, the text, the newline."""
    data = text.encode() + b"\n"
    return varint.encode(len(data)) + data


HEADER_LINE = line(HEADER)
NOT_AVAILABLE_LINE = line(NOT_AVAILABLE)


class _Lines:
    """Cuts what arrives into lines. Holds at most one unfinished line."""

    __slots__ = ("_count", "_data")

    def __init__(self) -> None:
        self._data = bytearray()
        self._count = 0

    def feed(self, data: Buffer) -> None:
        self._data += data

    def next(self) -> str | None:
        """The next whole line; ``ProtocolViolation`` for one that is too long, no UTF-8, or one too many."""
        try:
            size, start = varint.decode(self._data, max_bytes=_LENGTH_BYTES)
        except IndexError:
            return None
        except ValueError:
            raise ProtocolViolation("a negotiation line has no valid length") from None
        if not 1 <= size <= MULTISTREAM_LINE_BYTES:
            raise ProtocolViolation(f"a negotiation line of {size} bytes; 1 to {MULTISTREAM_LINE_BYTES} are allowed")
        if len(self._data) < start + size:
            return None
        raw = bytes(self._data[start : start + size])
        del self._data[: start + size]
        self._count += 1
        if self._count > MULTISTREAM_MAX_LINES:
            raise ProtocolViolation(f"more than {MULTISTREAM_MAX_LINES} negotiation lines on one stream")
        if raw[-1] != 0x0A:
            raise ProtocolViolation("a negotiation line does not end with a newline")
        try:
            return raw[:-1].decode()
        except UnicodeDecodeError:
            raise ProtocolViolation("a negotiation line is not UTF-8") from None

    def rest(self) -> bytes:
        """What came after the last line."""
        data = bytes(self._data)
        self._data.clear()
        return data


class Dialer:
    """The side that proposes.

    ``take()`` is what to send; feed what arrives to ``receive``. ``protocol`` is the agreed one, ``None`` before;
    ``failed`` is true once the other side has refused all. ``pending`` is the proposal that waits for its answer.
    """

    __slots__ = ("_greeted", "_left", "_lines", "_out", "failed", "pending", "protocol", "rest")

    def __init__(self, protocols: Sequence[str]) -> None:
        """``protocols`` in order of preference, at least one."""
        self._lines = _Lines()
        self._left = list(reversed(protocols))
        self._greeted = False
        self.protocol: str | None = None
        self.failed = False
        self.rest = b""
        self.pending = self._left.pop()
        self._out = HEADER_LINE + line(self.pending)

    @property
    def done(self) -> bool:
        """Whether nothing more of the negotiation will come."""
        return self.protocol is not None or self.failed

    def take(self) -> bytes:
        """Bytes to send now, once."""
        data, self._out = self._out, b""
        return data

    def receive(self, data: Buffer) -> None:
        """Take in what came; ``rest`` holds what followed the negotiation. ``ProtocolViolation`` ends it."""
        self._lines.feed(data)
        while not self.done and (text := self._lines.next()) is not None:
            if not self._greeted:
                if text != HEADER:
                    raise ProtocolViolation(f"the negotiation begins with {printable(text[:60])!r}, not {HEADER}")
                self._greeted = True
            elif text == self.pending:
                self.protocol = text
            elif text == NOT_AVAILABLE:
                self._refused()
            else:
                raise ProtocolViolation(f"{printable(text[:60])!r} answers the proposal {self.pending}")
        if self.done:
            self.rest = self._lines.rest()

    def _refused(self) -> None:
        if not self._left:
            self.failed = True
            return
        self.pending = self._left.pop()
        self._out += line(self.pending)

    def __repr__(self) -> str:
        state = "failed" if self.failed else self.protocol or f"proposed {self.pending}"
        return f"<multistream.Dialer {state}, {len(self._left)} left>"


class Listener:
    """The side that is proposed to. ``supports`` says whether a protocol is served; ``ls`` is refused like one that is
    not (what we serve is told by identify, to authenticated peers)."""

    __slots__ = ("_greeted", "_lines", "_out", "_supports", "protocol", "rest")

    def __init__(self, supports: Callable[[str], bool]) -> None:
        self._lines = _Lines()
        self._supports = supports
        self._greeted = False
        self._out = bytearray()
        self.protocol: str | None = None
        self.rest = b""

    @property
    def done(self) -> bool:
        """Whether a protocol is agreed on."""
        return self.protocol is not None

    def take(self) -> bytes:
        """Bytes to send now, once."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive(self, data: Buffer) -> None:
        """Take in what came; ``rest`` holds what followed the negotiation. ``ProtocolViolation`` ends it."""
        self._lines.feed(data)
        while self.protocol is None and (text := self._lines.next()) is not None:
            if not self._greeted:
                if text != HEADER:
                    raise ProtocolViolation(f"the negotiation begins with {printable(text[:60])!r}, not {HEADER}")
                self._greeted = True
                self._out += HEADER_LINE
            elif self._supports(text):
                self.protocol = text
                self._out += line(text)
            else:
                self._out += NOT_AVAILABLE_LINE
        if self.protocol is not None:
            self.rest = self._lines.rest()

    def __repr__(self) -> str:
        return f"<multistream.Listener {self.protocol or ('greeted' if self._greeted else 'new')}>"
