"""Small records that are kept beside the blocks: users' metadata of content, and what was stored at remote tiers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from ipfs_kit_py.core.config import MAX_RECORD_BYTES, STORE_SCAN_BATCH
from ipfs_kit_py.core.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import lmdb

    from ipfs_kit_py.storage.environment import Environment


class Records(Protocol):
    """Values by space and key. Thread safe; changes are on the disk when they return. A space has no zero bytes;
    space and key together at most 500 bytes, a value ``MAX_RECORD_BYTES``: else ``LocalError``."""

    def get(self, space: bytes, key: bytes) -> bytes | None: ...
    def put(self, space: bytes, key: bytes, value: bytes) -> None: ...
    def swap(self, space: bytes, key: bytes, old: bytes | None, new: bytes) -> bool:
        """Put ``new`` where ``old`` (``None``: nothing) still is; whether it was. Of several that try it at once, in
        whatever process, one does."""
        ...

    def delete(self, space: bytes, key: bytes) -> bool:
        """Whether there was one."""
        ...

    def items(self, space: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Those of a space in the order of their keys, a snapshot in batches."""
        ...


def _full_key(space: bytes, key: bytes) -> bytes:
    full = space + b"\0" + key
    if len(full) > 500:
        raise LocalError(f"the key of a record has {len(full)} bytes, but at most 500 fit")
    return full


def _checked(value: bytes) -> bytes:
    if len(value) > MAX_RECORD_BYTES:
        raise LocalError(f"a record of {len(value)} bytes is larger than the {MAX_RECORD_BYTES} that fit; shorten it")
    return value


class MemoryRecords:
    """Records that end with the process."""

    def __init__(self) -> None:
        self._records: dict[bytes, bytes] = {}
        self._lock = threading.Lock()

    def get(self, space: bytes, key: bytes) -> bytes | None:
        return self._records.get(_full_key(space, key))

    def put(self, space: bytes, key: bytes, value: bytes) -> None:
        with self._lock:
            self._records[_full_key(space, key)] = _checked(bytes(value))

    def swap(self, space: bytes, key: bytes, old: bytes | None, new: bytes) -> bool:
        full, checked = _full_key(space, key), _checked(bytes(new))
        with self._lock:
            if self._records.get(full) != old:
                return False
            self._records[full] = checked
            return True

    def delete(self, space: bytes, key: bytes) -> bool:
        with self._lock:
            return self._records.pop(_full_key(space, key), None) is not None

    def items(self, space: bytes) -> Iterator[tuple[bytes, bytes]]:
        begin = space + b"\0"
        with self._lock:
            found = sorted((key, value) for key, value in self._records.items() if key.startswith(begin))
        return ((key[len(begin) :], value) for key, value in found)

    def __repr__(self) -> str:
        return f"<MemoryRecords {len(self._records)}>"


class DiskRecords:
    """Records in the environment of kept blocks. ``acknowledge`` returns once what was written is on the disk."""

    def __init__(self, environment: Callable[[], Environment], acknowledge: Callable[[], None]) -> None:
        self._environment = environment
        self._acknowledge = acknowledge

    def get(self, space: bytes, key: bytes) -> bytes | None:
        environment = self._environment()
        with environment.reading() as txn:
            value = txn.get(_full_key(space, key), db=environment.tables["records"])
            return None if value is None else bytes(value)

    def put(self, space: bytes, key: bytes, value: bytes) -> None:
        environment, full, checked = self._environment(), _full_key(space, key), _checked(bytes(value))
        table = environment.tables["records"]
        environment.write(lambda txn: txn.put(full, checked, db=table))
        self._acknowledge()

    def swap(self, space: bytes, key: bytes, old: bytes | None, new: bytes) -> bool:
        environment, full, checked = self._environment(), _full_key(space, key), _checked(bytes(new))
        table = environment.tables["records"]

        def job(txn: lmdb.Transaction[memoryview]) -> bool:
            there = txn.get(full, db=table)
            if (None if there is None else bytes(there)) != old:
                return False
            txn.put(full, checked, db=table)
            return True

        done = environment.write(job)
        self._acknowledge()
        return done

    def delete(self, space: bytes, key: bytes) -> bool:
        environment, full = self._environment(), _full_key(space, key)
        table = environment.tables["records"]
        there = bool(environment.write(lambda txn: txn.delete(full, db=table)))
        self._acknowledge()
        return there

    def items(self, space: bytes) -> Iterator[tuple[bytes, bytes]]:
        begin = after = space + b"\0"
        while batch := self._environment().scan("records", after, STORE_SCAN_BATCH):
            for key, value in batch:
                if not key.startswith(begin):
                    return
                yield key[len(begin) :], value
            after = batch[-1][0]

    def __repr__(self) -> str:
        return "<DiskRecords>"
