"""What the layers of discovery report. Sans-I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipfs_kit_py.core.cid import PeerID


@dataclass(frozen=True, slots=True)
class Found:
    """A peer that somebody told of, not yet proved. ``addresses`` are multiaddrs without ``/p2p``."""

    peer: PeerID
    addresses: tuple[str, ...]
