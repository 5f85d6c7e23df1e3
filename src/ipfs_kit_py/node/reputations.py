"""What a node knows of providers, kept in its store over restarts."""

from __future__ import annotations

import json
import logging
import random
import time
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.config import REPUTATION_SAVE_SECONDS
from ipfs_kit_py.core.errors import IPFSKitError
from ipfs_kit_py.routing.providers import Providers

if TYPE_CHECKING:
    from trio import TaskStatus

    from ipfs_kit_py.net.swarm import Swarm
    from ipfs_kit_py.node.dht import StoredParts

logger = logging.getLogger(__name__)

_NAME = "reputations"
_LAST_SECONDS = 5.0  # for the last writing, when the node ends
_ROWS = 500  # encoded before others get the loop


class Reputations:
    """``run`` it where there is a ``keeper``: else what is known ends with the process."""

    def __init__(self, swarm: Swarm, keeper: StoredParts | None) -> None:
        self.providers = Providers(swarm, random.Random(), time.time)
        self._keeper = keeper
        self._saved = 0

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Load, then save now and then and at the end. What cannot be read or kept is told of and passed over."""
        if self._keeper is None:
            task_status.started()
            return
        await self._load(self._keeper)
        task_status.started()
        try:
            while True:
                await trio.sleep(REPUTATION_SAVE_SECONDS)
                await self._save(self._keeper)
        finally:
            with trio.move_on_after(_LAST_SECONDS, shield=True):
                await self._save(self._keeper)

    async def _load(self, keeper: StoredParts) -> None:
        try:
            data = await keeper.load(_NAME)
            rows = [] if data is None else json.loads(data)
            if not isinstance(rows, list):
                raise ValueError("not a list")
            self.providers.load(rows)
        except (IPFSKitError, ValueError) as error:
            logger.warning("what was known of peers cannot be read: %s", error)

    async def _save(self, keeper: StoredParts) -> None:
        """Write what has changed: nothing at all, in the life of most commands."""
        changes = self.providers.reputation.changes
        if changes == self._saved:
            return
        parts = []
        for number, row in enumerate(self.providers.dump(), 1):
            parts.append(json.dumps(row))
            if number % _ROWS == 0:
                await trio.lowlevel.checkpoint()
        try:
            await keeper.save(_NAME, f"[{', '.join(parts)}]".encode())
            self._saved = changes
        except IPFSKitError as error:
            logger.error("what is known of peers cannot be kept: %s", error)
