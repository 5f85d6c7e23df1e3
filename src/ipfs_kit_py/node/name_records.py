"""What a node keeps of names, among the records of its store."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.errors import InvalidAddress, InvalidCID, InvalidRecord, NotFound, NotRunning
from ipfs_kit_py.routing.kept_names import Mark
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipfs_kit_py.storage.records import Records

logger = logging.getLogger(__name__)

_OURS, _MARKS = b"names-ours", b"names-seen"


class NoRouter:
    """What a node without a network has: nobody to ask and nobody to tell."""

    async def put_value(self, _key: bytes, _value: bytes) -> None:
        """``NotRunning``."""
        raise NotRunning("this node has no network to publish names in; --allow-offline keeps the record here")

    async def get_value(self, _key: bytes) -> bytes:
        """``NotFound``."""
        raise NotFound("this node has no network to look a name up in, and it is none of its own")


class StoredRecords:
    """Our names' last records. They stay when a key is removed: should it come back, its sequence goes on."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def get(self, name: PeerID) -> bytes | None:
        """What ``swap`` put."""
        return await threads.run(Pool.WORK, self._records.get, _OURS, name.raw)

    async def swap(self, name: PeerID, old: bytes | None, new: bytes) -> bool:
        """Put ``new`` where ``old`` still is, on the disk when it returns; whether it was."""
        return await threads.run(Pool.WORK, self._records.swap, _OURS, name.raw, old, new)


class StoredMarks:
    """How new the records of others were."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def load(self) -> list[tuple[PeerID, Mark]]:
        """All that can be read."""
        return await threads.run(Pool.WORK, self._load)

    async def save(self, changes: Mapping[PeerID, Mark | None]) -> None:
        """Write or delete them, one after another."""
        await threads.run(Pool.WORK, self._save, dict(changes))

    def _load(self) -> list[tuple[PeerID, Mark]]:
        found = []
        for key, value in self._records.items(_MARKS):
            try:
                found.append((PeerID(key), Mark.decode(value)))
            except (InvalidAddress, InvalidCID, InvalidRecord) as error:
                logger.warning("what is known of a name cannot be read: %s", error)
        return found

    def _save(self, changes: Mapping[PeerID, Mark | None]) -> None:
        for name, mark in changes.items():
            if mark is None:
                self._records.delete(_MARKS, name.raw)
            else:
                self._records.put(_MARKS, name.raw, mark.encode())
