"""What several routers name for one search, made into one list: each peer once, all who name it heard. Sans-I/O.

Routers take turns, so that one which floods fills its own share alone; a peer that two of them name comes first. A peer
without an address that nobody has told, and that is not known here, waits until somebody does.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice, zip_longest
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import MAX_ADDRESS_CHARS, ROUTER_ADDRESSES, ROUTER_ADDRESSES_READ, ROUTER_WAITING
from ipfs_kit_py.core.errors import InvalidAddress, InvalidCID
from ipfs_kit_py.core.interfaces import Provider
from ipfs_kit_py.net import addresses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ipfs_kit_py.core.cid import PeerID

    Best = Callable[[Sequence[Provider], bool], Provider | None]


class _Named:
    """A peer that waits: where each source says it is, in the order of the sources that named it."""

    __slots__ = ("told",)

    def __init__(self) -> None:
        self.told: dict[str, dict[str, None]] = {}

    def add(self, source: str, texts: Iterable[str]) -> bool:
        """Take a source's addresses; whether any of them is news."""
        mine = self.told.setdefault(source, {})
        before = {text for other in self.told.values() for text in other}
        mine.update(dict.fromkeys(islice(texts, max(0, ROUTER_ADDRESSES - len(mine)))))
        return not before.issuperset(mine)

    def addresses(self) -> tuple[str, ...]:
        """Of all sources in turn: what one makes up does not push out what another knows."""
        turns = (text for row in zip_longest(*self.told.values()) for text in row if text is not None)
        return tuple(islice(dict.fromkeys(turns), ROUTER_ADDRESSES))


class Gathering:
    """``count`` peers are wanted, ``me`` is none of them. ``known(peer)``: whether it can be reached without an address
    being told."""

    def __init__(self, me: PeerID, count: int, *, known: Callable[[PeerID], bool]) -> None:
        self._me = me
        self._count = count
        self._known = known
        self._given: set[PeerID] = set()
        self._named: dict[PeerID, _Named] = {}  # not given yet
        self._ready: OrderedDict[str, OrderedDict[PeerID, None]] = OrderedDict()  # by source, the next one's turn first
        self._confirmed: OrderedDict[PeerID, None] = OrderedDict()  # of those ready, named by several
        self._held: dict[PeerID, str] = {}  # nobody has told where they are
        self._searches: deque[PeerID] = deque()
        self._ended = False

    @property
    def enough(self) -> bool:
        """Whether as many as were wanted have been taken."""
        return len(self._given) >= self._count

    @property
    def found(self) -> int:
        """Peers that were named."""
        return len(self._given) + len(self._named)

    @property
    def ready(self) -> int:
        """Peers that can be taken, with those that were."""
        return len(self._given) + len(self._named) - len(self._held)

    def is_full(self, source: str) -> bool:
        """Whether so many of a source wait that it should not be read further."""
        held = sum(1 for name in self._held.values() if name == source) if self._held else 0
        return len(self._ready.get(source, ())) + held >= ROUTER_WAITING

    def on_found(self, source: str, provider: Provider) -> Provider | None:
        """A source names a provider. What is news of it, its addresses put in order, ``None`` for what is known."""
        peer = provider.peer
        if peer == self._me:
            return None
        texts = usable(provider)
        if peer in self._given:
            return Provider(peer, texts, source) if texts else None
        named = self._named.get(peer)
        fresh = named is None
        if named is None:
            named = self._named[peer] = _Named()
        confirms = not fresh and source not in named.told
        news = named.add(source, texts) or fresh
        if fresh:
            self._place(peer, source, reachable=bool(texts))
        elif peer in self._held:
            if texts:
                self._release(peer)
        elif confirms:
            self._confirmed[peer] = None
        return Provider(peer, texts, source) if news else None

    def _place(self, peer: PeerID, source: str, *, reachable: bool) -> None:
        if reachable or self._known(peer):
            self._ready.setdefault(source, OrderedDict())[peer] = None
        else:
            self._held[peer] = source
            self._searches.append(peer)

    def _release(self, peer: PeerID) -> None:
        self._ready.setdefault(self._held.pop(peer), OrderedDict())[peer] = None

    def next_search(self) -> PeerID | None:
        """A peer to be looked for, since nobody has told where it is; each is named once."""
        while self._searches:
            peer = self._searches.popleft()
            if peer in self._held:
                return peer
        return None

    def on_looked(self, peer: PeerID, texts: Iterable[str]) -> None:
        """A peer was looked for. Without an address it is given all the same: whoever wants it may find it later."""
        named = self._named.get(peer)
        if named is not None and peer in self._held:
            named.add("", usable(Provider(peer, tuple(islice(texts, ROUTER_ADDRESSES_READ)))))
            self._release(peer)

    def end(self) -> None:
        """Nothing more comes: those that wait for an address are given without."""
        self._ended = True
        for peer in list(self._held):
            self._release(peer)
        self._searches.clear()

    def take(self, best: Best | None = None) -> Provider | None:
        """The next provider, ``None`` where none is ready or enough were taken. ``best(ready, last)`` chooses among
        those that are ready, or none of them for now; ``last``: others will not come. Without it they come in turn."""
        if self.enough:
            return None
        if best is not None:
            ready = [self._provider(peer) for queue in self._ready.values() for peer in queue]
            chosen = best(ready, self._ended) if ready else None
            return None if chosen is None else self._give(chosen.peer)
        if self._confirmed:
            return self._give(next(iter(self._confirmed)))
        for source in list(self._ready):
            queue = self._ready[source]
            self._ready.move_to_end(source)
            if queue:
                return self._give(next(iter(queue)))
        return None

    def _provider(self, peer: PeerID) -> Provider:
        named = self._named[peer]
        return Provider(peer, named.addresses(), next((name for name in named.told if name), ""))

    def _give(self, peer: PeerID) -> Provider:
        provider = self._provider(peer)
        self._confirmed.pop(peer, None)
        for queue in self._ready.values():
            queue.pop(peer, None)
        del self._named[peer]
        self._given.add(peer)
        return provider

    def __repr__(self) -> str:
        return f"<Gathering {len(self._given)} of {self._count}, {len(self._named)} wait>"


def usable(provider: Provider) -> tuple[str, ...]:
    """A provider's addresses in their usual form, those left out that cannot be its own: whoever names a provider says
    what he likes."""
    found: dict[str, None] = {}
    for text in islice(provider.addresses, ROUTER_ADDRESSES_READ):
        if len(text) > MAX_ADDRESS_CHARS:
            continue
        try:
            address = addresses.parse(text)
        except (InvalidAddress, InvalidCID):
            continue
        if address.text and address.peer in (None, provider.peer) and address.scope is not addresses.Scope.UNUSABLE:
            found[address.text] = None
            if len(found) >= ROUTER_ADDRESSES:
                break
    return tuple(found)
