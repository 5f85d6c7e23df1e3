"""Groups of IPs, which stand for who rents them, and how many peers of each a table or a bucket may have. Sans-I/O.

One machine can make any number of peer ids and choose where in the key space they lie, but addresses in many networks
cost money (CVE-2020-10937). Source: go-libp2p-kbucket's diversity filter for the idea, Amino's numbers.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from ipfs_kit_py.core.config import KAD_GROUP_IN_BUCKET, KAD_GROUP_IN_TABLE, KAD_TABLE_ADDRESSES, MAX_ADDRESS_CHARS
from ipfs_kit_py.core.errors import InvalidAddress
from ipfs_kit_py.net import addresses

if TYPE_CHECKING:
    from collections.abc import Iterable

Groups = frozenset[str]
_Name = TypeVar("_Name")

_UNKNOWN = frozenset(("unknown",))  # no address that would tell: they count as one network
_NONE: Groups = frozenset()


@lru_cache(maxsize=16_384)
def _group(text: str) -> tuple[str, bool] | None:
    """The group of one address and whether it is public; ``None`` where it tells nothing of the peer's own network."""
    try:
        found = addresses.parse(text)
    except InvalidAddress:
        return None
    if any(name == "p2p-circuit" for name, _value in found.parts):
        return None  # the relay's network
    if found.ip is None:
        if not addresses.is_name(found):
            return None
        return "name " + ".".join(found.parts[0][1].lower().rstrip(".").split(".")[-2:]), True
    packed = found.ip.packed
    return packed[: 2 if len(packed) == 4 else 4].hex(), found.scope is addresses.Scope.PUBLIC


@lru_cache(maxsize=16_384)
def _groups(texts: tuple[str, ...], exempt: bool) -> Groups:
    rows = [row for text in texts if (row := _group(text)) is not None]
    found = frozenset(group for group, public in rows if public or not exempt)
    return found or (_NONE if exempt else _UNKNOWN)


def groups_of(texts: Iterable[str], *, exempt: bool) -> Groups:
    """The groups that a peer's addresses belong to: /16 of IPv4, /32 of IPv6, the domain of a name.

    ``exempt`` leaves out loopback and private addresses (and then a peer that has no others belongs to none).
    """
    return _groups(tuple(texts), exempt)


class Diversity:
    """How many peers of each group there are, in all and by bucket."""

    def __init__(self, in_table: int = KAD_GROUP_IN_TABLE, in_bucket: int = KAD_GROUP_IN_BUCKET) -> None:
        self.in_table, self.in_bucket = in_table, in_bucket
        self._table: Counter[str] = Counter()
        self._bucket: Counter[tuple[int, str]] = Counter()

    def allows(self, bucket: int, groups: Groups) -> bool:
        """Whether one more peer of these groups may enter the bucket."""
        return all(
            self._table[group] < self.in_table and self._bucket[bucket, group] < self.in_bucket for group in groups
        )

    def add(self, bucket: int, groups: Groups) -> None:
        """Count a peer that entered."""
        for group in groups:
            self._table[group] += 1
            self._bucket[bucket, group] += 1

    def drop(self, bucket: int, groups: Groups) -> None:
        """Count a peer that left."""
        for group in groups:
            _less(self._table, group)
            _less(self._bucket, (bucket, group))

    def __len__(self) -> int:
        return len(self._table)


def _less(counts: Counter[_Name], name: _Name) -> None:
    counts[name] -= 1
    if counts[name] <= 0:
        del counts[name]


def first_addresses(texts: Iterable[str]) -> tuple[str, ...]:
    """The first addresses, each once, as many as a peer may have here."""
    found: dict[str, None] = {}
    for text in texts:
        if len(found) >= KAD_TABLE_ADDRESSES:
            break
        if isinstance(text, str) and 1 < len(text) <= MAX_ADDRESS_CHARS:
            found[text] = None
    return tuple(found)
