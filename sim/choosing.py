"""Choosing providers: the node's own choice against random order, Kademlia order and a sort by reputation alone.

Peers differ as those of a real network do: round trips of 10 to 500 ms by region, throughput log-normal around 2 MB/s,
there for some hours at a time, some behind relays, some slow, some that send false blocks, some that drop out in the
middle. A client fetches contents of 64 KiB to 16 MiB, each offered by a dozen of them, one provider after another until
one delivers; after a minute it gives one up. Every rival meets the same world: the same peers, offers, loads and
absences, drawn before by one seed. What is counted is the time until a verified content is here, and bytes that came
and were of no use. Source of the shape: Trautwein and others, *Design and Evaluation of IPFS*, SIGCOMM 2022,
for sessions and throughput; the numbers here are round ones of that size.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.interfaces import Provider
from ipfs_kit_py.routing.keys import kad_key
from ipfs_kit_py.routing.providers import Providers

if TYPE_CHECKING:
    from collections.abc import Collection

DEAD_SECONDS = 5.0  # that anybody waits for a peer that does not answer
PATIENCE = 60.0  # that anybody waits for one provider's content
STEP = 20.0  # seconds from one fetch to the next
START = 1.8e9
SESSION = 7200.0  # seconds that a peer is there at a time, on average
OFFERS = 12  # providers of a content
SIZES = (64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20)


@dataclass(frozen=True)
class World:
    """Shares of the peers that are as they are. ``fresh``: every peer comes back under a new name after each fetch, so
    that nothing can be known of it."""

    name: str
    slow: float = 0.1
    liars: float = 0.0
    flaky: float = 0.1
    away: float = 0.2
    relayed: float = 0.1
    peers: int = 300
    fresh: bool = False


WORLDS = (
    World("different peers", flaky=0.0, away=0.05),
    World("churn", away=0.5),
    World("slow peers", slow=0.5),
    World("a tenth lies", liars=0.1),
    World("a third lies", liars=0.33),
    World("new names each time", liars=0.1, fresh=True),
    World("new names, no relays", liars=0.1, relayed=0.0, fresh=True),
)


@dataclass
class Peer:
    """How a peer is."""

    peer: PeerID
    rtt: float
    rate: float
    lies: bool
    flaky: bool
    relayed: bool
    here: bool
    until: float  # it comes or goes

    @property
    def provider(self) -> Provider:
        """What a search says of it."""
        text = "/ip4/192.0.2.1/tcp/4001" + ("/p2p-circuit" if self.relayed else "")
        return Provider(self.peer, (text,), "dht")


@dataclass
class Offer:
    """A content: its key, size and providers; of each whether it is there, seconds of load, whether it breaks off."""

    key: bytes
    size: int
    rows: list[tuple[Peer, bool, float, bool]]


class Surroundings:
    """Nobody is connected before: a fetch of a stranger's content is the usual case."""

    def connected(self) -> Collection[PeerID]:
        return ()

    def rtt(self, peer: PeerID) -> float | None:
        return None

    def is_local(self, peer: PeerID) -> bool:
        return False


def peer_id(rng: random.Random) -> PeerID:
    """A name that nobody has."""
    return PeerID(b"\x12\x20" + rng.randbytes(32))


def make_peer(world: World, rng: random.Random) -> Peer:
    """One peer of a world."""
    rate = 2e6 * 4.0 ** rng.gauss(0.0, 0.8)
    if rng.random() < world.slow:
        rate /= 30.0
    relayed = rng.random() < world.relayed
    rtt = rng.choice((0.02, 0.05, 0.1, 0.2, 0.35)) * rng.uniform(0.5, 1.5)
    return Peer(
        peer_id(rng), rtt, min(rate, 128e3) if relayed else rate, rng.random() < world.liars,
        rng.random() < world.flaky, relayed, rng.random() >= world.away, 0.0,
    )  # fmt: skip


def live(one: Peer, world: World, rng: random.Random, now: float) -> None:
    """Let a peer come and go until ``now``: sessions of 2 h on average."""
    if not one.until:
        one.until = rng.expovariate(1 / SESSION)
    while one.until <= now:
        one.here = not one.here
        mean = SESSION if one.here else SESSION * world.away / (1.0 - world.away)
        one.until += rng.expovariate(1 / max(mean, 1.0))


def offers(world: World, seed: int, count: int) -> list[Offer]:
    """The contents to fetch, with what holds of their providers at that moment."""
    rng = random.Random(seed)
    peers = [make_peer(world, rng) for _ in range(world.peers)]
    popular = list(accumulate(rng.paretovariate(1.2) for _ in peers))
    found = []
    for number in range(count):
        for one in peers:
            live(one, world, rng, number * STEP)
        chosen: dict[int, Peer] = {}
        while len(chosen) < OFFERS:
            [at] = rng.choices(range(len(peers)), cum_weights=popular)
            chosen[at] = peers[at]
        rows = [(one, one.here, rng.expovariate(1 / 0.3), one.flaky and rng.random() < 0.5) for one in chosen.values()]
        found.append(Offer(b"\x12\x20" + rng.randbytes(32), rng.choice(SIZES), rows))
        if world.fresh:
            for one in peers:
                one.peer = peer_id(rng)
            found[-1].rows = [(replace(one), here, load, breaks) for one, here, load, breaks in rows]
    return found


@dataclass
class Outcome:
    """Of one rival in one world: seconds of each fetch, and bytes that were of no use for each that was."""

    seconds: list[float]
    wasted: int
    useful: int

    def quantile(self, q: float) -> float:
        """Seconds that a share ``q`` of the fetches took at most."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def ours(offer: Offer, known: Providers, _rng: random.Random, _now: float) -> list[PeerID]:
    """The node's choice, whoever is left out after all others."""
    rows = [row[0].provider for row in offer.rows]
    chosen = [one.peer for one in known.optimal(offer.key, rows, size=offer.size, count=3)]
    rest = [one for one in rows if one.peer not in chosen]
    return (
        chosen
        + [one.peer for one in known.optimal(offer.key, rest, size=offer.size, count=OFFERS)]
        + [one.peer for one in rest]
    )


def by_chance(offer: Offer, _known: Providers, rng: random.Random, _now: float) -> list[PeerID]:
    """Random order."""
    peers = [row[0].peer for row in offer.rows]
    rng.shuffle(peers)
    return peers


def by_distance(offer: Offer, _known: Providers, _rng: random.Random, _now: float) -> list[PeerID]:
    """As close to the key as their names are."""
    target = kad_key(offer.key)
    return sorted((row[0].peer for row in offer.rows), key=lambda peer: kad_key(peer.raw) ^ target)


def by_reputation(offer: Offer, known: Providers, rng: random.Random, now: float) -> list[PeerID]:
    """The best reputation first, whatever it takes."""
    peers = by_chance(offer, known, rng, now)
    return sorted(peers, key=lambda peer: -known.reputation.get(peer).reputation(now))


RIVALS = {"own choice": ours, "random": by_chance, "Kademlia order": by_distance, "reputation alone": by_reputation}


def run(offered: list[Offer], rival: str, seed: int, *, warm: int) -> Outcome:
    """Fetch all, of which the first ``warm`` do not count."""
    now = [START]
    rng = random.Random(seed + 1)
    known = Providers(Surroundings(), random.Random(seed + 2), lambda: now[0])
    outcome = Outcome([], 0, 0)
    for number, offer in enumerate(offered):
        now[0] += STEP
        rows = {row[0].peer: row for row in offer.rows}
        seconds, wasted, came = 0.0, 0, False
        for peer in dict.fromkeys(RIVALS[rival](offer, known, rng, now[0])):
            took, waste, came = fetch(offer, rows[peer], known)
            seconds += took
            wasted += waste
            if came:
                break
        if number >= warm and any(
            here and not (breaks or one.lies) and offer.size / one.rate < PATIENCE
            for one, here, _load, breaks in offer.rows
        ):
            outcome.seconds.append(seconds)
            outcome.wasted += wasted
            outcome.useful += offer.size * came
    return outcome


def fetch(offer: Offer, row: tuple[Peer, bool, float, bool], known: Providers) -> tuple[float, int, bool]:
    """Ask one provider for all: seconds, bytes of no use, whether it came. What happened is told to who chooses."""
    one, here, load, breaks = row
    peer = one.peer
    if not here:
        known.update_stats(peer, False)
        return DEAD_SECONDS, 0, False
    latency, rate = one.rtt * (2.0 if one.relayed else 1.0), one.rate
    begin = 4 * latency + load
    known.update_stats(peer, True, latency=latency)
    if one.lies:
        known.on_lie(peer)
        false = min(offer.size, 256 << 10)  # the first block tells
        return begin + false / rate, false, False
    took = offer.size / rate
    if breaks:
        known.update_stats(peer, False)
        return begin + 0.5 * min(took, PATIENCE) + DEAD_SECONDS, int(0.5 * min(took, PATIENCE) * rate), False
    if took > PATIENCE:
        known.update_stats(peer, False)
        known.on_measured(peer, None, rate)
        return begin + PATIENCE, int(PATIENCE * rate), False
    known.update_stats(peer, True, size=offer.size, seconds=took)
    return begin + took, 0, True
