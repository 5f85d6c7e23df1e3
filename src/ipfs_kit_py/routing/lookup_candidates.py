"""What a lookup knows of one peer, of who named it, and of how fast peers answer. Sans-I/O."""

from __future__ import annotations

import math
from enum import IntEnum

from ipfs_kit_py.core.config import (
    KAD_ASK_FIRST_SECONDS,
    KAD_ASK_MIN_SECONDS,
    KAD_ASK_SECONDS,
    KAD_LOOKUP_BLAME,
    KAD_LOOKUP_NAMERS,
    KAD_NAMER_ADDRESSES,
    KAD_TABLE_ADDRESSES,
)
from ipfs_kit_py.routing.kad_wire import PeerInfo
from ipfs_kit_py.routing.kbuckets_groups import Groups, groups_of

_DIAL_ROUNDS = 4.0  # round trips of a new connection and the request on it


class State(IntEnum):
    """Of a candidate: named, asked, answered, or asked in vain."""

    HEARD = 0
    ASKED = 1
    ANSWERED = 2
    FAILED = 3


class Candidate:
    """A peer of a lookup. ``paths`` is a bit mask of the paths that it was named in, ``path`` the one that asked it.

    As a namer: ``good`` and ``vain`` count those that it named and that answered or did not, ``open`` those that nobody
    else named and whose answer is waited for.
    """

    __slots__ = (
        "asked",
        "distance",
        "good",
        "groups",
        "hops",
        "info",
        "latency",
        "lone",
        "namers",
        "open",
        "path",
        "paths",
        "patience",
        "retried",
        "soft",
        "state",
        "told",
        "until",
        "vain",
    )

    def __init__(self, info: PeerInfo, distance: int, hops: int, paths: int, latency: float | None) -> None:
        self.info, self.distance, self.hops, self.paths, self.latency = info, distance, hops, paths, latency
        self.state = State.HEARD
        self.path = 0
        self.namers: list[Candidate] = []
        self.told: list[tuple[str, ...]] = [info.addresses[:KAD_NAMER_ADDRESSES]]
        self.groups: Groups = groups_of(self.told[0], exempt=True)
        self.asked = self.soft = self.lone = self.patience = self.until = 0.0
        self.retried = False
        self.good = self.vain = self.open = 0

    @property
    def confirmed(self) -> bool:
        """Whether we knew of it ourselves, two peers named it, or it has answered."""
        return len(self.namers) != 1 or self.state is State.ANSWERED

    @property
    def shunned(self) -> bool:
        """Whether all who named it named too many that did not answer."""
        if not self.namers or self.state is State.ANSWERED:
            return False
        return all(namer.vain >= KAD_LOOKUP_BLAME + 2 * namer.good for namer in self.namers)

    @property
    def waits(self) -> bool:
        """Whether the only one who named it must first be right about others."""
        return len(self.namers) == 1 and self.namers[0].spent(self.namers[0].open)

    def spent(self, more: int) -> bool:
        """Whether this namer's credit would be used up by so many more in vain."""
        return self.vain + more >= KAD_LOOKUP_BLAME + 2 * self.good

    def named(self, namer: Candidate, info: PeerInfo) -> None:
        """Another peer has named this one."""
        if namer in self.namers or not self.namers or len(self.namers) >= KAD_LOOKUP_NAMERS:
            return
        if len(self.namers) == 1 and self.state is State.ASKED:
            self.namers[0].open -= 1  # no longer its word alone
        self.namers.append(namer)
        addresses = info.addresses[:KAD_NAMER_ADDRESSES]
        if addresses not in self.told:
            self.told.append(addresses)

    def addresses(self) -> tuple[str, ...]:
        """The addresses to try: by turns of each who named it, so that none can crowd out what the others say."""
        if len(self.told) == 1:
            return self.told[0]
        found: dict[str, None] = {}
        for turn in range(KAD_NAMER_ADDRESSES):
            for told in self.told:
                if turn < len(told) and len(found) < KAD_TABLE_ADDRESSES:
                    found[told[turn]] = None
        return tuple(found)

    def ask(self, path: int, now: float, soft: float, until: float, patience: float) -> None:
        """It is asked now; after ``soft`` others may be asked in its place, after ``until`` it has failed.
        ``patience``: after how many times its usual wait it is called late, once if only one peer has named it."""
        self.info = PeerInfo(self.info.peer, self.addresses(), self.info.connection)
        self.groups = groups_of(self.info.addresses, exempt=True)
        self.state, self.path, self.asked, self.soft, self.until = State.ASKED, path, now, soft, until
        self.patience = until if patience == math.inf else min(now + patience * (soft - now), until)
        self.lone = min(soft, self.patience) if patience < math.inf else until
        if len(self.namers) == 1:
            self.namers[0].open += 1

    def late(self, now: float) -> bool:
        """Whether it was asked and has taken much longer than others do."""
        return self.state is State.ASKED and now >= (self.lone if len(self.namers) == 1 else self.patience)

    def next_time(self, now: float) -> float:
        """When its standing changes next if it does not answer."""
        return next((at for at in (self.soft, self.patience) if at > now), self.until)

    def end(self, state: State) -> None:
        """It answered or failed, perhaps after it had been given up; who named it has earned that."""
        if self.state is State.ASKED and len(self.namers) == 1:
            self.namers[0].open -= 1
        for namer in self.namers:
            if self.state is State.FAILED:
                namer.vain -= 1
            if state is State.ANSWERED:
                namer.good += 1
            elif state is State.FAILED:
                namer.vain += 1
        self.state = state

    def untried(self) -> bool:
        """Whether somebody has told of addresses since it was asked."""
        return any(text not in self.info.addresses for text in self.addresses())


class Pace:
    """How long peers take to answer in this lookup, as TCP estimates its round trip (RFC 6298). In seconds."""

    def __init__(self) -> None:
        self.mean: float | None = None
        self._spread = 0.0

    def on_answer(self, seconds: float) -> None:
        """A peer answered after so long."""
        if self.mean is None:
            self.mean, self._spread = seconds, seconds / 2
        else:
            self._spread += 0.25 * (abs(seconds - self.mean) - self._spread)
            self.mean += 0.125 * (seconds - self.mean)

    def waits(self, latency: float | None) -> tuple[float, float]:
        """After how long others are asked in a peer's place, and after how long it has failed."""
        own = 0.0 if latency is None else _DIAL_ROUNDS * latency
        if self.mean is None:
            soft, hard = KAD_ASK_FIRST_SECONDS / 4, KAD_ASK_FIRST_SECONDS
        else:
            soft, hard = self.mean + 2 * self._spread, _DIAL_ROUNDS * (self.mean + 2 * self._spread)
        hard = min(max(hard, own, KAD_ASK_MIN_SECONDS), KAD_ASK_SECONDS)
        return min(soft, hard), hard
