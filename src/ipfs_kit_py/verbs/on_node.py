"""Verbs on a node of this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.verbs.call import Call, UsageError
from ipfs_kit_py.verbs.table import VERBS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from ipfs_kit_py.content.files import Entry
    from ipfs_kit_py.node import Node
    from ipfs_kit_py.verbs.call import Output


class OnNode:
    """Verbs on ``node``; they raise what it raises."""

    def __init__(self, node: Node) -> None:
        self.node = node

    async def perform(
        self, verb: str, arguments: Sequence[str], options: Mapping[str, str], output: Output,
        uploads: AsyncIterator[Entry] | None = None,
    ) -> None:  # fmt: skip
        """Perform a verb and hand on its answer as it comes. ``UsageError`` for one that there is not."""
        found = VERBS.get(verb)
        if found is None:
            raise UsageError(f"no verb is called {verb!r}")
        await found.run(Call(self.node, output, arguments, options, uploads))

    async def get(self, path: str, dest: Path, *, progress: Callable[[int], None]) -> None:
        """Write a file or tree to ``dest``, which it becomes."""
        await self.node.get(path, dest, progress=progress)

    def __repr__(self) -> str:
        return f"<OnNode {self.node!r}>"
