"""What one peer was told of our wants, and what it is to be told next: a difference, never the whole list again.

A revision is what changed since the last message: an entry that is put and taken back before it was sent costs nothing.
Source: ipfs/specs src/bitswap-protocol.md, "Wantlist".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.bitswap.wire import Entry, entry_size
from ipfs_kit_py.core.config import MAX_WANTLIST_ENTRIES

if TYPE_CHECKING:
    from ipfs_kit_py.core.cid import CID

MESSAGE_BYTES = 64 << 10  # of entries in one message: servers answer the first wants of several messages sooner


class Wantlist:
    """One peer's view of our wants: what it was told, and what the next message will say."""

    def __init__(self) -> None:
        self._told: dict[CID, Entry] = {}
        self._pending: dict[CID, Entry] = {}
        self._full = True  # the next message replaces what the peer knows
        self._clear = False  # it has to be sent even if there is nothing left to want

    def __len__(self) -> int:
        """Entries that the peer holds, or will when it has read the next message."""
        return len(self._told) + len(self._pending)

    @property
    def dirty(self) -> bool:
        """Whether there is something to say."""
        return bool(self._pending) or self._clear

    @property
    def full(self) -> bool:
        """Whether the peer, by the specification's custom, would drop wants if it were told more."""
        return len(self) >= MAX_WANTLIST_ENTRIES

    def cids(self) -> list[CID]:
        """What the peer was told, or is about to be told, that we want."""
        return [cid for cid in {**self._told, **self._pending} if self.asked(cid)]

    def asked(self, cid: CID) -> bool:
        """Whether the peer was told, or is about to be told, of a want."""
        entry = self._pending.get(cid)
        return not entry.cancel if entry is not None else cid in self._told

    def want(self, cid: CID, *, block: bool, priority: int = 1) -> bool:
        """Ask for a block, or whether the peer has it; whether that is news. What was asked is never asked down."""
        known = self._pending.get(cid)
        if known is None or known.cancel:
            told = self._told.get(cid)
            if known is not None and told is not None:
                del self._pending[cid]  # the cancel was not sent yet
            known = told
        if known is not None and (not known.want_have or not block):
            return False
        self._pending[cid] = Entry(cid, priority, want_have=not block, send_dont_have=True)
        return True

    def cancel(self, cid: CID) -> None:
        """Take a want back; a peer that was never told hears nothing."""
        self._pending.pop(cid, None)
        if cid in self._told:
            self._pending[cid] = Entry(cid, cancel=True)

    def forget(self, cid: CID) -> None:
        """The peer holds this want no longer: it sent the block, or it never understood the entry."""
        self._told.pop(cid, None)
        self._pending.pop(cid, None)

    def take(self) -> tuple[list[Entry], bool]:
        """The entries of the next message, and whether they replace all that the peer was told before."""
        entries: list[Entry] = []
        size = 0
        for cid in list(self._pending):
            entry = self._pending.pop(cid)
            entries.append(entry)
            if entry.cancel:
                self._told.pop(cid, None)
            else:
                self._told[cid] = entry
            size += entry_size(entry)
            if size >= MESSAGE_BYTES:
                break
        full, self._full, self._clear = self._full, False, False
        return entries, full

    def reset(self) -> None:
        """Messages may have been lost: all that stands is told again, as a full list."""
        had = bool(self._told) or any(entry.cancel for entry in self._pending.values())
        standing = {cid: entry for cid, entry in {**self._told, **self._pending}.items() if not entry.cancel}
        self._told.clear()
        self._pending = standing
        self._clear = had and not standing
        self._full = True
