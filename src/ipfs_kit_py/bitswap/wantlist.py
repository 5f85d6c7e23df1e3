"""What one peer was told of our wants, and what it is to be told next: a difference, never the whole list again.

A revision is what stands since the last message: an entry that is put and taken back before it was sent costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.bitswap.wire import Entry, entry_size

if TYPE_CHECKING:
    from ipfs_kit_py.core.cid import CID

MESSAGE_BYTES = 256 << 10  # of entries in one message: boxo's servers take more, but answer sooner to several


class Wantlist:
    """One peer's view of our wants. ``told`` is what it knows; ``pending`` what the next message will say."""

    def __init__(self) -> None:
        self._told: dict[CID, bool] = {}  # CID -> whether the block itself was asked for
        self._pending: dict[CID, Entry] = {}
        self._fresh = True

    def __len__(self) -> int:
        return len(self._told)

    @property
    def dirty(self) -> bool:
        """Whether there is something to say."""
        return bool(self._pending)

    def asked(self, cid: CID) -> bool:
        """Whether the peer was told, or is about to be told, of a want."""
        entry = self._pending.get(cid)
        return not entry.cancel if entry is not None else cid in self._told

    def want(self, cid: CID, *, block: bool, priority: int = 1) -> bool:
        """Ask for a block or whether the peer has it; whether that is news. A block asked for is not asked down."""
        known = self._told.get(cid)
        if known is not None and (known or not block):
            self._pending.pop(cid, None)
            return False
        entry = self._pending.get(cid)
        if entry is not None and not entry.cancel and not entry.want_have:
            return False
        self._pending[cid] = Entry(cid, priority, want_have=not block, send_dont_have=True)
        return True

    def cancel(self, cid: CID) -> None:
        """Take a want back; a peer that was never told hears nothing."""
        self._pending.pop(cid, None)
        if cid in self._told:
            self._pending[cid] = Entry(cid, cancel=True)

    def forget(self, cid: CID) -> None:
        """The peer has sent the block: it dropped the want itself."""
        self._told.pop(cid, None)
        self._pending.pop(cid, None)

    def take(self) -> tuple[list[Entry], bool]:
        """The entries of the next message, and whether they are the full list (the first on a connection)."""
        entries: list[Entry] = []
        size = 0
        for cid in list(self._pending):
            entry = self._pending.pop(cid)
            entries.append(entry)
            if entry.cancel:
                self._told.pop(cid, None)
            else:
                self._told[cid] = not entry.want_have
            size += entry_size(entry)
            if size >= MESSAGE_BYTES:
                break
        full, self._fresh = self._fresh, False
        return entries, full

    def reset(self) -> None:
        """The connection or stream was lost: all that the peer was told is to be told again, as a full list."""
        for cid, block in self._told.items():
            self._pending.setdefault(cid, Entry(cid, want_have=not block, send_dont_have=True))
        for cid in [cid for cid, entry in self._pending.items() if entry.cancel]:
            del self._pending[cid]
        self._told.clear()
        self._fresh = True
