"""Pins: which DAGs and blocks are to stay. Stored by CID; what a recursive pin reaches is for ``dag`` to say."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import MAX_PIN_NAME_BYTES, STORE_SCAN_BATCH
from ipfs_kit_py.core.errors import InvalidName, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ipfs_kit_py.storage.environment import Environment

_RECURSIVE, _DIRECT = b"r", b"d"


class Pin(NamedTuple):
    """One pin; ``recursive`` pins keep all that the CID links to, direct ones its block alone."""

    cid: CID
    recursive: bool
    name: str = ""

    @property
    def kind(self) -> str:
        """``recursive`` or ``direct``."""
        return "recursive" if self.recursive else "direct"


class Pins(Protocol):
    """The pins of a store; one per CID. Thread safe; changes are on the disk when they return."""

    def add(self, cid: CID, *, recursive: bool = True, name: str = "") -> None:
        """Pin, or change the pin of a CID. ``InvalidName`` for a name over ``MAX_PIN_NAME_BYTES`` of UTF-8."""
        ...

    def rm(self, cid: CID) -> None:
        """Unpin; ``NotFound`` where the CID is not pinned."""
        ...

    def get(self, cid: CID) -> Pin | None: ...
    def ls(self) -> Iterator[Pin]:
        """All pins in the order of their CIDs, a snapshot in batches."""
        ...

    def __contains__(self, cid: object) -> bool: ...
    def __len__(self) -> int: ...


def _checked_name(name: str) -> bytes:
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) > MAX_PIN_NAME_BYTES:
        raise InvalidName(f"the name of a pin has at most {MAX_PIN_NAME_BYTES} bytes, {name[:40]!r}… has more")
    return encoded


def _not_pinned(cid: CID) -> NotFound:
    return NotFound(f"{cid} is not pinned", cid=cid)


class MemoryPins:
    """Pins that end with the process."""

    def __init__(self) -> None:
        self._pins: dict[bytes, Pin] = {}
        self._lock = threading.Lock()

    def add(self, cid: CID, *, recursive: bool = True, name: str = "") -> None:
        _checked_name(name)
        with self._lock:
            self._pins[cid.raw] = Pin(cid, recursive, name)

    def rm(self, cid: CID) -> None:
        with self._lock:
            if self._pins.pop(cid.raw, None) is None:
                raise _not_pinned(cid)

    def get(self, cid: CID) -> Pin | None:
        return self._pins.get(cid.raw)

    def ls(self) -> Iterator[Pin]:
        with self._lock:
            found = sorted(self._pins.items())
        return (pin for _key, pin in found)

    def __contains__(self, cid: object) -> bool:
        return isinstance(cid, CID) and cid.raw in self._pins

    def __len__(self) -> int:
        return len(self._pins)

    def __repr__(self) -> str:
        return f"<MemoryPins {len(self)}>"


def _unpack(key: bytes, value: bytes) -> Pin:
    return Pin(CID.from_bytes(key), value[:1] == _RECURSIVE, value[1:].decode("utf-8", "surrogateescape"))


class DiskPins:
    """Pins in the environment of kept blocks. ``acknowledge`` returns once what was written is on the disk."""

    def __init__(self, environment: Callable[[], Environment], acknowledge: Callable[[], None]) -> None:
        self._environment = environment
        self._acknowledge = acknowledge

    def add(self, cid: CID, *, recursive: bool = True, name: str = "") -> None:
        value = (_RECURSIVE if recursive else _DIRECT) + _checked_name(name)
        environment = self._environment()
        table = environment.tables["pins"]
        environment.write(lambda txn: txn.put(cid.raw, value, db=table))
        self._acknowledge()

    def rm(self, cid: CID) -> None:
        environment = self._environment()
        table = environment.tables["pins"]
        if not environment.write(lambda txn: txn.delete(cid.raw, db=table)):
            raise _not_pinned(cid)
        self._acknowledge()

    def get(self, cid: CID) -> Pin | None:
        environment = self._environment()
        with environment.reading() as txn:
            value = txn.get(cid.raw, db=environment.tables["pins"])
            return None if value is None else _unpack(cid.raw, bytes(value))

    def ls(self) -> Iterator[Pin]:
        after = b""
        while batch := self._environment().scan("pins", after, STORE_SCAN_BATCH):
            for key, value in batch:
                yield _unpack(key, value)
            after = batch[-1][0]

    def __contains__(self, cid: object) -> bool:
        return isinstance(cid, CID) and self.get(cid) is not None

    def __len__(self) -> int:
        environment = self._environment()
        with environment.reading() as txn:
            return int(txn.stat(environment.tables["pins"])["entries"])

    def __repr__(self) -> str:
        return f"<DiskPins {len(self)}>"
