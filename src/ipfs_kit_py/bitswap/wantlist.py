"""What one peer was told of our wants, and what it is to be told next: a difference, never the whole list again.

A revision is what changed since the last message: an entry that is put and taken back before it was sent costs nothing.
Source: ipfs/specs src/bitswap-protocol.md, "Wantlist".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.bitswap.wire import Entry, entry_size

if TYPE_CHECKING:
    from ipfs_kit_py.core.cid import CID

MESSAGE_BYTES = 64 << 10  # of entries in one message: servers answer the first wants of several messages sooner


class Wantlist:
    """One peer's view of our wants: what it was told, and what the next message will say."""

    def __init__(self) -> None:
        self._told: dict[CID, Entry] = {}
        self._wants: dict[CID, Entry] = {}  # to be told
        self._cancels: dict[CID, None] = {}  # to be told; always of those told before
        self._fresh = 0  # wants to be told that the peer has not heard of in any form
        self._full = True  # the next message replaces what the peer knows
        self._clear = False  # it has to be sent whatever is left to want: the peer may know more

    def __len__(self) -> int:
        """Entries that the peer holds when it has read the next message; it never holds more before."""
        return len(self._told) + self._fresh - len(self._cancels)

    @property
    def dirty(self) -> bool:
        """Whether there is something to say."""
        return bool(self._wants or self._cancels) or self._clear

    def cids(self) -> list[CID]:
        """What the peer was told, or is about to be told, that we want."""
        return [cid for cid in {**self._told, **self._wants} if cid not in self._cancels]

    def asked(self, cid: CID) -> bool:
        """Whether the peer was told, or is about to be told, of a want."""
        return cid in self._wants or (cid in self._told and cid not in self._cancels)

    def want(self, cid: CID, *, block: bool, priority: int = 1) -> bool:
        """Ask for a block, or whether the peer has it; whether that is news. What was asked is never asked down. What
        was taken back is told anew: the peer may have answered already, when nobody listened."""
        known = self._wants.get(cid) or self._told.get(cid)
        if cid in self._cancels:
            del self._cancels[cid]
        elif known is not None and (not known.want_have or not block):
            return False
        self._fresh += known is None
        self._wants[cid] = Entry(cid, priority, want_have=not block, send_dont_have=True)
        return True

    def cancel(self, cid: CID) -> None:
        """Take a want back; a peer that was never told hears nothing."""
        told = cid in self._told
        if self._wants.pop(cid, None) is not None:
            self._fresh -= not told
        if told:
            self._cancels[cid] = None

    def forget(self, cid: CID) -> None:
        """The peer holds this want no longer: it sent the block, or it never understood the entry."""
        self.cancel(cid)
        if self._told.pop(cid, None) is not None:
            del self._cancels[cid]

    def take(self) -> tuple[list[Entry], bool]:
        """The entries of the next message, and whether they replace all that the peer was told before. Cancels come
        first: they make room for the others."""
        entries: list[Entry] = []
        size = 0
        while self._cancels and size < MESSAGE_BYTES:
            cid = next(iter(self._cancels))
            del self._cancels[cid], self._told[cid]
            entries.append(Entry(cid, cancel=True))
            size += entry_size(entries[-1])
        for cid, entry in list(self._wants.items()):
            if size >= MESSAGE_BYTES:
                break
            del self._wants[cid]
            self._fresh -= cid not in self._told
            self._told[cid] = entry
            entries.append(entry)
            size += entry_size(entry)
        full, self._full, self._clear = self._full, False, False
        return entries, full

    def reset(self) -> None:
        """Messages may have been lost: all that stands is told again, as a full list."""
        self._clear = self._clear or bool(self._told)
        self._wants = {cid: entry for cid, entry in {**self._told, **self._wants}.items() if cid not in self._cancels}
        self._fresh = len(self._wants)
        self._told.clear()
        self._cancels.clear()
        self._full = True
