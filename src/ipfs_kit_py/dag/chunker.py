"""Cut a stream into chunks of one size, without copying the chunks that arrive whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Chunker:
    """Chunks of ``size`` bytes, the last one shorter; at most one chunk is held.

    A chunk that lies whole in the data given is a view of it: leave that memory alone until the chunk is used up.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._rest = bytearray()

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their chunk."""
        return len(self._rest)

    def feed(self, data: Buffer) -> list[Buffer]:
        """The chunks that ``data`` completes, in order."""
        view = memoryview(data).cast("B")
        chunks: list[Buffer] = []
        at, size = 0, self._size
        if self._rest:
            at = min(size - len(self._rest), len(view))
            self._rest += view[:at]
            if len(self._rest) < size:
                return chunks
            chunks.append(self._rest)
            self._rest = bytearray()
        whole = at + (len(view) - at) // size * size
        chunks += [view[start : start + size] for start in range(at, whole, size)]
        self._rest += view[whole:]
        return chunks

    def flush(self) -> Buffer | None:
        """The last chunk, ``None`` where the stream ended with a whole one or never began."""
        rest, self._rest = self._rest, bytearray()
        return rest or None
