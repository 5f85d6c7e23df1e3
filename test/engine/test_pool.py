from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.config import DUPLICATE_LINGER_SECONDS, HANDSHAKE_SECONDS, MAX_CONNECTIONS_PER_PEER
from ipfs_kit_py.net.pool import Pool
from test.engine.test_address_book import peer

if TYPE_CHECKING:
    from ipfs_kit_py.core.cid import PeerID

SMALL, LARGE = sorted((peer(1), peer(2)))


class Counts(NamedTuple):
    inbound: int = 0
    outbound: int = 0


@dataclass(eq=False)
class Conn:
    """A connection that is nothing but its state; ``name`` is the same at both ends."""

    peer_id: PeerID
    outbound: bool
    name: str = ""
    remote_address: str = ""
    local_address: str = ""
    rtt: float | None = None
    is_closed: bool = False
    is_closing: bool = False
    counts: Counts = field(default_factory=Counts)

    def statistics(self) -> Counts:
        return self.counts

    async def close(self) -> None:
        self.is_closed = self.is_closing = True


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=2))
def test_both_sides_choose_the_same_of_two_that_cross(rows: list[tuple[bool, float, float]]) -> None:
    small: Pool[Conn] = Pool(SMALL)
    large: Pool[Conn] = Pool(LARGE)
    for name, (_small_dials, seen_by_small, seen_by_large) in enumerate(rows):
        small.add(Conn(LARGE, outbound=name == 0, name=str(name)), seen_by_small)
        large.add(Conn(SMALL, outbound=name == 1, name=str(name)), seen_by_large)
    chosen = small.best(LARGE), large.best(SMALL)
    assert [entry.connection.name for entry in chosen if entry is not None] == ["0", "0"]


def test_a_later_connection_replaces_an_old_one_whoever_dialled() -> None:
    pool: Pool[Conn] = Pool(SMALL)
    pool.add(Conn(LARGE, outbound=True, name="old"), 0.0)
    new, _first, _spare = pool.add(Conn(LARGE, outbound=False, name="new"), HANDSHAKE_SECONDS + 1)
    assert pool.best(LARGE) is new
    new.connection.is_closing = True
    old = pool.best(LARGE)
    assert old is not None
    assert old.connection.name == "old"
    old.connection.is_closing = True
    assert pool.best(LARGE) is None


def test_the_smaller_peer_closes_the_spare_one_once_it_is_idle_and_the_larger_much_later() -> None:
    for own, other, patience in ((SMALL, LARGE, 1.0), (LARGE, SMALL, 10.0)):
        pool: Pool[Conn] = Pool(own)
        spare, kept = Conn(other, outbound=own == LARGE), Conn(other, outbound=own == SMALL)
        pool.add(spare, 0.0)
        pool.add(kept, 0.0)
        assert pool.has_spare
        spare.counts = Counts(inbound=1)
        for second in range(100):
            assert pool.spare(float(second)) == []
        spare.counts = Counts()
        assert pool.spare(100.0) == []
        assert pool.spare(100.0 + patience * DUPLICATE_LINGER_SECONDS - 0.1) == []
        assert pool.spare(200.0) == [spare]


def test_first_last_and_too_many_are_told() -> None:
    pool: Pool[Conn] = Pool(SMALL)
    entries = []
    for number in range(MAX_CONNECTIONS_PER_PEER):
        entry, first, spare = pool.add(Conn(LARGE, outbound=False), float(number))
        assert (first, spare) == (number == 0, [])
        entries.append(entry)
    _entry, _first, spare = pool.add(Conn(LARGE, outbound=False), 99.0)
    assert spare == [entries[0].connection]
    lasts = [pool.remove(entry) for entry in [*pool]]
    assert lasts == [False] * MAX_CONNECTIONS_PER_PEER + [True]
    assert not pool.remove(entries[0])
    assert (len(pool), list(pool.peers())) == (0, [])
