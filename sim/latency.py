"""How long messages take: each host has a place on a plane of milliseconds and a height, the line to its own network.

The round trip of two is their distance and both heights. Shape after Dabek et al., *Vivaldi: A Decentralized Network
Coordinate System*, SIGCOMM 2004 (section 5.4: planes with heights fit the Internet best); scaled to the median of the
King data set that it measures (1,740 DNS servers, 159 ms). Shares of the regions after the peers' countries in
Trautwein et al., *Design and Evaluation of IPFS*, SIGCOMM 2022 (US 28 %, China 24 %, France 8 %, Taiwan 7 %, South
Korea 7 %).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random

KING_MEDIAN = 0.159  # seconds
DIAL_ROUNDS = (
    4  # of a request to a peer that is not connected: TCP, multistream and Noise, yamux and the stream, request
)
_REGIONS = (  # share of the hosts, place in ms: Europe, America's two coasts, East Asia, South-East and Oceania, South
    (0.27, 0.0, 0.0),
    (0.17, 85.0, 0.0),
    (0.14, 145.0, 0.0),
    (0.32, 172.0, 137.0),
    (0.06, 120.0, 220.0),
    (0.04, 170.0, -85.0),
)
_SPREAD = 16.0  # ms, standard deviation of hosts about the place of their region
_HEIGHT = 10.0, 0.8  # ms, median and sigma of a lognormal
_JITTER = 0.12  # sigma of the lognormal factor of each message
_BUSY = 0.006, 0.9  # seconds that a host needs for an answer: median and sigma over the hosts, and again by chance


class Place(NamedTuple):
    """Where a host is; all in seconds. ``busy``: how long it usually takes to answer."""

    x: float
    y: float
    height: float
    busy: float


def place(rng: random.Random) -> Place:
    """A host by chance."""
    _share, x, y = rng.choices(_REGIONS, [region[0] for region in _REGIONS])[0]
    height = _HEIGHT[0] * math.exp(rng.gauss(0.0, _HEIGHT[1]))
    busy = _BUSY[0] * math.exp(rng.gauss(0.0, _BUSY[1]))
    spread = _SPREAD * 1e-3
    return Place(rng.gauss(x * 1e-3, spread), rng.gauss(y * 1e-3, spread), height * 1e-3, busy)


def round_trip(a: Place, b: Place) -> float:
    """The usual round trip between two hosts, in seconds."""
    return math.hypot(a.x - b.x, a.y - b.y) + a.height + b.height


def exchange(a: Place, b: Place, rng: random.Random) -> float:
    """One round trip between two hosts, with its jitter and the time that ``b`` needs."""
    return round_trip(a, b) * math.exp(rng.gauss(0.0, _JITTER)) + b.busy * rng.expovariate(1.0)
