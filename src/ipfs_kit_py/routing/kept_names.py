"""What a node keeps of its own names over restarts, and of the names that it followed."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import NamedTuple

from ipfs_kit_py.core.errors import InvalidRecord

_VERSION = 1
_HEAD = struct.Struct(">Bdd")
_MARK = struct.Struct(">QQ")
_MAX_NANOSECONDS = (1 << 64) - 1  # the year 2554


@dataclass(frozen=True)
class Kept:
    """The last record of a name of ours. ``lifetime`` is what it is renewed for, in seconds; ``sent`` when it last
    reached the router, in seconds since 1970, 0 where it never did."""

    raw: bytes
    lifetime: float
    sent: float = 0.0

    def encode(self) -> bytes:
        """For the disk."""
        return _HEAD.pack(_VERSION, self.lifetime, self.sent) + self.raw

    @classmethod
    def decode(cls, data: bytes) -> Kept:
        """``InvalidRecord`` where it is damaged."""
        if len(data) < _HEAD.size or data[0] != _VERSION:
            raise InvalidRecord("what was kept of a name is damaged, or of a later version")
        _version, lifetime, sent = _HEAD.unpack_from(data)
        if not (math.isfinite(lifetime) and lifetime > 0 and math.isfinite(sent)):
            raise InvalidRecord("what was kept of a name is damaged: its times are none")
        return cls(data[_HEAD.size :], lifetime, sent)


class Mark(NamedTuple):
    """The newest record of a name that was seen: an older one is a replay until this one has ended.
    ``ends`` in nanoseconds since 1970."""

    sequence: int
    ends: int

    def encode(self) -> bytes:
        """For the disk."""
        return _MARK.pack(self.sequence, min(max(self.ends, 0), _MAX_NANOSECONDS))

    @classmethod
    def decode(cls, data: bytes) -> Mark:
        """``InvalidRecord`` where it is damaged."""
        if len(data) != _MARK.size:
            raise InvalidRecord("a mark of a name is damaged")
        return cls(*_MARK.unpack(data))
