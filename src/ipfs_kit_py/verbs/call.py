"""One call of a verb, whoever makes it: the daemon's HTTP server, or the command line with a node of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ipfs_kit_py.core.closing import finishing
from ipfs_kit_py.core.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from typing_extensions import Buffer

    from ipfs_kit_py.content.files import Entry
    from ipfs_kit_py.node import Node


class UsageError(LocalError, ValueError):
    """A verb was called with arguments that it does not take."""


async def whole(entry: Entry, limit: int = 8 << 20) -> bytes:
    """The bytes of a file that was sent; ``UsageError`` where it is none or has over ``limit`` bytes."""
    if entry.chunks is None:
        raise UsageError("expected a file, not a directory or a link")
    data = bytearray()
    async with finishing(entry.chunks()) as chunks:
        async for chunk in chunks:
            data += chunk
            if len(data) > limit:
                raise UsageError(f"the body is larger than the {limit} bytes that one block or value may have")
    return bytes(data)


class Output(Protocol):
    """Where a verb's answer goes."""

    async def row(self, row: dict[str, Any]) -> None:
        """One JSON object of the answer."""
        ...

    async def data(self, data: Buffer) -> None:
        """A piece of an answer that is bytes."""
        ...


class Call:
    """Arguments, options and uploads of one call. Options are text, as they come in a query."""

    def __init__(
        self,
        node: Node,
        output: Output,
        arguments: Sequence[str],
        options: Mapping[str, str],
        uploads: AsyncIterator[Entry] | None = None,
    ) -> None:
        self.node = node
        self.output = output
        self.arguments = tuple(arguments)
        self._options = dict(options)
        self._uploads = uploads

    def argument(self, name: str) -> str:
        """The only argument; ``UsageError`` where there is none or more than one."""
        if len(self.arguments) != 1:
            raise UsageError(f"expected one {name}, got {len(self.arguments)}")
        return self.arguments[0]

    def several(self, name: str) -> tuple[str, ...]:
        """All arguments, at least one."""
        if not self.arguments:
            raise UsageError(f"expected at least one {name}")
        return self.arguments

    def text(self, name: str, default: str = "") -> str:
        """An option's text."""
        return self._options.get(name, default)

    def flag(self, name: str, default: bool = False) -> bool:
        """An option that is true or false."""
        value = self._options.get(name)
        if value is None:
            return default
        if value.lower() in ("true", "1", ""):
            return True
        if value.lower() in ("false", "0"):
            return False
        raise UsageError(f"option {name} is true or false, not {value!r}")

    def number(self, name: str, default: int | None = None) -> int | None:
        """An option that is a whole number, 0 or more."""
        value = self._options.get(name)
        if value is None:
            return default
        if not value.isdecimal():
            raise UsageError(f"option {name} is a whole number, not {value!r}")
        return int(value)

    def uploads(self) -> AsyncIterator[Entry]:
        """What was sent with the call, in order; ``UsageError`` where nothing was."""
        if self._uploads is None:
            raise UsageError("expected a file in the body (multipart/form-data)")
        return self._uploads

    async def row(self, row: dict[str, Any]) -> None:
        """Answer with a JSON object."""
        await self.output.row(row)

    async def data(self, data: Buffer) -> None:
        """Answer with bytes."""
        await self.output.data(data)
