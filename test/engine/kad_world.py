"""A simulated DHT without a network: peers that know each other, and lookups driven over it by a clock of their own."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.routing.kad_wire import PeerInfo
from ipfs_kit_py.routing.kbuckets import Check, Table
from ipfs_kit_py.routing.keys import kad_key
from ipfs_kit_py.routing.lookup import Ask, Done, Lookup


def peer_id(rng: random.Random) -> PeerID:
    return PeerID(b"\x12\x20" + rng.randbytes(32))


def public_address(rng: random.Random) -> str:
    return f"/ip4/{rng.randrange(11, 99)}.{rng.randrange(256)}.{rng.randrange(256)}.1/tcp/4001"


def near_to(target: int, bits: int, rng: random.Random) -> PeerID:
    """A made-up id whose key shares ``bits`` bits with the target, as an attacker searches for them."""
    while True:
        found = peer_id(rng)
        if (kad_key(found.raw) ^ target) >> (256 - bits) == 0:
            return found


@dataclass
class Peer:
    info: PeerInfo
    key: int
    latency: float
    table: Table
    kind: str = "honest"  # or "dead" (never answers), "liar" (see World.answer)
    slow: float = 0.0


@dataclass
class Run:
    done: Done
    lookup: Lookup
    seconds: float
    messages: int
    asked: list[PeerID] = field(default_factory=list)


class World:
    """``peers`` whose tables were filled as they met. A liar names 20 peers close to the target that do not exist."""

    def __init__(self, size: int, seed: int, *, know: int = 150) -> None:
        self.rng = rng = random.Random(seed)
        self.peers: dict[PeerID, Peer] = {}
        self.fakes: list[PeerInfo] = []
        for _ in range(size):
            peer = peer_id(rng)
            info = PeerInfo(peer, (public_address(rng),))
            latency = min(1.2, rng.lognormvariate(-2.3, 0.7))
            self.peers[peer] = Peer(info, kad_key(peer.raw), latency, Table(peer, rng=rng))
        self.meet(know)

    def meet(self, know: int) -> None:
        everybody = list(self.peers.values())
        for peer in everybody:
            neighbours = [other for _, other in heapq.nsmallest(31, ((row.key ^ peer.key, row) for row in everybody))]
            for other in [*neighbours, *self.rng.sample(everybody, min(know, len(everybody)))]:
                peer.table.on_seen(other.info.peer, other.info.addresses, 0.0, latency=other.latency)

    def spoil(self, kind: str, share: float) -> None:
        for peer in self.rng.sample(list(self.peers.values()), int(share * len(self.peers))):
            peer.kind = kind

    def tend(self, now: float) -> None:
        """Every table checks who was silent: the dead go."""
        for peer in self.peers.values():
            while (action := peer.table.next_action(now)) is not None:
                if isinstance(action, Check):
                    peer.table.on_checked(action.peer, self.peers[action.peer].kind != "dead", now)

    def honest(self) -> list[Peer]:
        return [peer for peer in self.peers.values() if peer.kind == "honest"]

    def closest(self, target: int, count: int = 20) -> list[PeerID]:
        near = sorted((peer for peer in self.peers.values() if peer.kind != "dead"), key=lambda peer: peer.key ^ target)
        return [peer.info.peer for peer in near[:count]]

    def answer(self, peer: Peer, target: int) -> list[PeerInfo]:
        if peer.kind == "liar":
            return [PeerInfo(self.fake(target), (public_address(self.rng),)) for _ in range(20)]
        return [info for info in peer.table.nearest(target, 20) if info.peer != peer.info.peer]

    def fake(self, target: int) -> PeerID:
        return near_to(target, 8, self.rng)

    def run(self, lookup: Lookup, target: int, *, limit: float = 120.0) -> Run:
        """Drive a lookup to its end. Dead peers are silent: only the engine's own time-outs tell."""
        now, events, asked, order = 0.0, list[tuple[float, int, PeerID]](), list[PeerID](), 0
        while True:
            action = lookup.next_action(now)
            while isinstance(action, Ask):
                asked.append(action.peer)
                peer = self.peers.get(action.peer)
                if peer is not None and peer.kind != "dead" and set(action.info.addresses) & set(peer.info.addresses):
                    order += 1
                    heapq.heappush(events, (now + 3 * peer.latency + peer.slow, order, action.peer))
                action = lookup.next_action(now)
            if isinstance(action, Done):
                return Run(action, lookup, now, len(asked), asked)
            deadline = lookup.deadline()
            assert deadline is not None, "nothing is waited for and it is not done"
            assert now < limit, f"no end: {lookup}"
            if events and events[0][0] <= deadline:
                now, _, who = heapq.heappop(events)
                lookup.on_answer(who, self.answer(self.peers[who], target), now)
            else:
                now = max(now, deadline)
                lookup.on_timeout(now)

    def seeds(self, me: Peer, target: int) -> list[PeerInfo]:
        return me.table.nearest(target, 40)  # more than k: where some are dead, all others may name the same 20
