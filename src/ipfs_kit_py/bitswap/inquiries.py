"""Asking connected peers whether they have a block, without wanting it. Sans-I/O.

It is a want-have on the wire. A want of the same block comes first: what it was told by then it is told anew by that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.core.cid import CID, RAW
from ipfs_kit_py.core.config import CONNECTED_PEERS, INQUIRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ipfs_kit_py.bitswap.neighbours import Neighbours
    from ipfs_kit_py.bitswap.peers import Peer
    from ipfs_kit_py.bitswap.placing import Placing
    from ipfs_kit_py.bitswap.wants import LateAnswers, Want
    from ipfs_kit_py.core.cid import PeerID


class Inquiry:
    """One question. ``have`` grows in the order of the answers; ``waiting`` have yet to answer."""

    def __init__(self, cid: CID) -> None:
        self.cid = cid
        self.have: dict[PeerID, None] = {}
        self.waiting: set[PeerID] = set()
        self.asked: set[PeerID] = set()
        self.listeners: list[Callable[[], None]] = []

    def settle(self, peer: PeerID, *, has: bool) -> None:
        """A peer has answered, or will not."""
        if has:
            self.have[peer] = None
        self.waiting.discard(peer)
        for listener in self.listeners:
            listener()

    def __repr__(self) -> str:
        return f"<Inquiry {self.cid}: {len(self.have)} of {len(self.asked)}, {len(self.waiting)} to answer>"


class Inquiries:
    """All questions that are open. Their times are their askers'."""

    def __init__(
        self, neighbours: Neighbours, placing: Placing, late: LateAnswers, wants: Mapping[CID, Want],
        by_hash: Mapping[bytes, Sequence[CID]],
    ) -> None:  # fmt: skip
        self._neighbours, self._placing, self._late = neighbours, placing, late
        self._wants, self._by_hash = wants, by_hash
        self._open: dict[CID, Inquiry] = {}

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, multihash: bytes, listener: Callable[[], None], now: float) -> Inquiry | None:
        """Ask the peers that a want would be told to. ``listener`` is called after each answer; ``end`` it.

        While the block is wanted those answers count that the want gets, and nobody is asked twice. ``None`` where
        ``INQUIRIES`` are open.
        """
        cid = CID(1, RAW, multihash)
        inquiry = self._open.get(cid)
        if inquiry is None:
            if len(self._open) >= INQUIRIES:
                return None
            inquiry = self._open[cid] = Inquiry(cid)
            wants = [self._wants[same] for same in self._by_hash.get(multihash, ())]
            for want in wants:
                inquiry.have.update(dict.fromkeys(want.have - want.lacking))
                inquiry.waiting |= want.told - want.lacking - want.have
            if not wants:
                self._probe(inquiry, now)
        inquiry.listeners.append(listener)
        return inquiry

    def _probe(self, inquiry: Inquiry, now: float) -> None:
        for peer in self._neighbours.candidates((), [])[:CONNECTED_PEERS]:
            if peer.has_presences and peer.probe(inquiry.cid, 1, now):
                inquiry.asked.add(peer.id)
                self._placing.mark(peer)
        inquiry.waiting |= inquiry.asked

    def end(self, inquiry: Inquiry, listener: Callable[[], None]) -> None:
        """An asker has gone. After the last one those that have not answered hear a cancel."""
        inquiry.listeners.remove(listener)
        if inquiry.listeners:
            return
        del self._open[inquiry.cid]
        if inquiry.asked:
            self._late.expect(inquiry.cid.multihash, set(inquiry.waiting))
        if inquiry.cid not in self._wants:
            self._untell(inquiry)

    def on_wanted(self, cid: CID) -> None:
        """The block is wanted from now on: whoever was asked is asked by the want."""
        inquiry = self._open.get(cid) if self._open else None
        if inquiry is not None:
            self._untell(inquiry)

    def _untell(self, inquiry: Inquiry) -> None:
        for number in inquiry.asked:
            peer = self._neighbours.get(number)
            if peer is not None:
                peer.untell(inquiry.cid)
                self._placing.mark(peer)

    def on_presence(self, peer: Peer, cid: CID, *, has: bool, now: float) -> None:
        """A peer says whether it has a block."""
        inquiry = self._open.get(CID(1, RAW, cid.multihash)) if self._open else None
        if inquiry is not None and peer.id in inquiry.waiting:
            peer.answered(cid, now)
            inquiry.settle(peer.id, has=has)

    def on_block(self, peer: PeerID, multihash: bytes) -> bool:
        """A peer sent a block that nobody wants; whether that is its answer: small ones are sent at once."""
        inquiry = self._open.get(CID(1, RAW, multihash)) if self._open and multihash else None
        if inquiry is None or peer not in inquiry.waiting:
            return False
        found = self._neighbours.get(peer)
        if found is not None:
            found.forget(inquiry.cid)
        inquiry.settle(peer, has=True)
        return True

    def on_gone(self, peer: PeerID) -> None:
        """A peer has gone, or cannot answer."""
        for inquiry in list(self._open.values()):
            if peer in inquiry.waiting:
                inquiry.settle(peer, has=False)
