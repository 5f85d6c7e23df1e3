"""What is kept of providing over restarts, in a store's small records: what was told when, and what is still to be."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
_SPACE = b"provide"
_STATE, _ONCE = b"state/", b"once/"
_ONCE_BYTES = 32 * 1024  # of one record, half of what fits


class Records(Protocol):
    """Of ``storage.records``. Blocks; thread safe."""

    def get(self, space: bytes, key: bytes) -> bytes | None: ...
    def put(self, space: bytes, key: bytes, value: bytes) -> None: ...
    def delete(self, space: bytes, key: bytes) -> bool: ...
    def items(self, space: bytes) -> Iterator[tuple[bytes, bytes]]: ...


class InThread(Protocol):
    """Runs what blocks on a thread: ``trio.to_thread.run_sync``, or a pool's own."""

    async def __call__(self, work: Callable[[], T], /) -> T: ...


class ProvideRecords:
    """Reads and writes, one after another. Raises ``StorageError``."""

    def __init__(self, records: Records, in_thread: InThread) -> None:
        self._records, self._in_thread = records, in_thread
        self._lock = trio.Lock()
        self._once: list[bytes] = []  # as written last
        self._states: dict[str, bytes] = {}

    async def load(self) -> tuple[dict[str, bytes], list[bytes]]:
        """What each lane's sweep dumped, and the multihashes to be told of once."""
        rows = await self._run(lambda: list(self._records.items(_SPACE)))
        states = {key[len(_STATE) :].decode(): value for key, value in rows if key.startswith(_STATE)}
        once = [one for key, value in rows if key.startswith(_ONCE) for one in _split(value)]
        self._states, self._once = dict(states), once
        return states, once

    async def save(self, states: dict[str, bytes], once: list[bytes]) -> None:
        """Write what has changed."""
        for name, state in states.items():
            if self._states.get(name) != state:
                await self._run(partial(self._records.put, _SPACE, _STATE + name.encode(), state))
                self._states[name] = state
        if once != self._once:
            await self._run(partial(self._write_once, once))
            self._once = once

    def _write_once(self, once: list[bytes]) -> None:
        count = 0
        for count, value in enumerate(_joined(once), 1):
            self._records.put(_SPACE, _ONCE + b"%04d" % (count - 1), value)
        while self._records.delete(_SPACE, _ONCE + b"%04d" % count):
            count += 1

    async def _run(self, work: Callable[[], T]) -> T:
        async with self._lock:
            return await self._in_thread(work)


def _joined(multihashes: Iterable[bytes]) -> Iterator[bytes]:
    part = bytearray()
    for multihash in multihashes:
        if len(part) + 1 + len(multihash) > _ONCE_BYTES:
            yield bytes(part)
            part.clear()
        part.append(len(multihash))
        part += multihash
    if part:
        yield bytes(part)


def _split(value: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(value):
        end = at + 1 + value[at]
        if end <= len(value):
            yield value[at + 1 : end]
        at = end
