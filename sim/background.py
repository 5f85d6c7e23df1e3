"""The tables of the nodes that nobody measures: rows of numbers, made when somebody asks.

A modelled node has in each bucket whom a measured one would have: as many dead ones that it does not know to be dead,
as many living ones that it does not know, and as great a preference for the fast. These three are read off the measured
nodes' tables while they run (``Manners``), by bucket, so that the model follows the engines whatever they do. A row is
kept from one question to the next: who is in it stays until it leaves.
"""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import KAD_K
from sim.latency import round_trip
from sim.population import TOP

if TYPE_CHECKING:
    import random

    from sim.population import Population

_MEMORY = 0.9  # of what was read off before that counts at the next reading
_GOLD, _SILVER = 0x9E3779B1, 0x85EBCA77
_ALL = 4 * KAD_K  # identities of a bucket up to which all of them are looked at, not a sample


class Manners:
    """How the measured nodes keep a bucket: of those named the share that is ``dead``, of the living of a small bucket
    the share that is ``missing``, and how many of those about whom it has heard a slot's peer is the fastest of."""

    def __init__(self) -> None:
        self.delay = [600.0] * TOP  # seconds until a death is noticed
        self.missing = [0.02] * TOP
        self.choice = 1.0

    def learn(self, bucket: int, *, delay: float | None = None, missing: float | None = None) -> None:
        """A measured table's bucket."""
        if delay is not None:
            self.delay[bucket] += (1 - _MEMORY) * (delay - self.delay[bucket])
        if missing is not None:
            self.missing[bucket] += (1 - _MEMORY) * (missing - self.missing[bucket])

    def learn_choice(self, slower: float) -> None:
        """The share of a bucket's living that are faster than those in the table: 1/2 by chance, 1/(m+1) for the
        fastest of m."""
        self.choice += (1 - _MEMORY) * (max(1.0, 1.0 / max(slower, 0.05) - 1.0) - self.choice)


class Background:
    """Answers for all who are not measured."""

    def __init__(self, population: Population, manners: Manners, rng: random.Random) -> None:
        self.population, self.manners, self.rng = population, manners, rng
        self._rows: dict[int, array[int]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def nearest(self, number: int, top: int, count: int) -> list[int]:
        """Whom a node would name to who asks for a key: as ``Table.nearest``."""
        tops = self.population.tops
        home = TOP - (tops[number] ^ top).bit_length()
        found = list(self._bucket(number, home)) if home < TOP else []
        if len(found) < count:
            deeper = home + 1
            while deeper < TOP:
                low, high = self.population.span(tops[number], deeper)
                if high - low <= 1:
                    break
                found += self._bucket(number, deeper)
                deeper += 1
        for bucket in range(home - 1, -1, -1):
            if len(found) >= count:
                break
            found += self._bucket(number, bucket)
        found.sort(key=lambda other: tops[other] ^ top)
        return found[:count]

    def _bucket(self, number: int, bucket: int) -> array[int]:
        """Those of one bucket, brought up to date."""
        people, at = self.population, number * TOP + bucket
        up, changed, now = people.up, people.changed, people.clock.now
        delay = self.manners.delay[bucket]
        row = self._rows.get(at)
        kept = array("L")
        if row is not None:
            for other in row:
                if up[other] or now - changed[other] < delay * _patience(number, other):
                    kept.append(other)
        if len(kept) < KAD_K:
            low, high = people.span(people.tops[number] ^ (1 << (TOP - 1 - bucket)), bucket + 1)
            if len(kept) < high - low:
                if high - low <= _ALL:
                    self._fill(kept, number, bucket, low, high)
                else:
                    self._pick(kept, number, delay, low, high)
        self._rows[at] = kept
        return kept

    def _fill(self, kept: array[int], number: int, bucket: int, low: int, high: int) -> None:
        """Take in all that are known of a small bucket, the fast first."""
        people, mine = self.population, self.population.places[number]
        up, changed, now = people.up, people.changed, people.clock.now
        delay, missing, spell = self.manners.delay[bucket], self.manners.missing[bucket], int(now / 1800.0)
        known = [
            other
            for other in range(low, high)
            if other not in kept
            and (up[other] or now - changed[other] < delay * _patience(number, other))
            and _chance(number + spell, other) >= missing
        ]
        if len(kept) + len(known) > KAD_K:
            if self.manners.choice > 1.5:
                known.sort(key=lambda other: round_trip(mine, people.places[other]))
            else:
                self.rng.shuffle(known)
            del known[KAD_K - len(kept) :]
        kept.extend(known)

    def _pick(self, kept: array[int], number: int, delay: float, low: int, high: int) -> None:
        """Fill the places of a large bucket, each with the fastest of some."""
        people, rng, mine = self.population, self.rng, self.population.places[number]
        up, changed, now, places = people.up, people.changed, people.clock.now, people.places
        choice, tries = self.manners.choice, 0
        while len(kept) < KAD_K and tries < 40 * KAD_K:
            best, nearest = -1, math.inf
            left = int(choice) + (rng.random() < choice % 1.0)
            while left > 0 and tries < 40 * KAD_K:
                tries += 1
                other = low + int(rng.random() * (high - low))
                if other in kept or other == number:
                    continue
                if up[other] or now - changed[other] < delay * _patience(number, other):
                    left -= 1
                    seconds = round_trip(mine, places[other])
                    if seconds < nearest:
                        best, nearest = other, seconds
            if best >= 0:
                kept.append(best)


def _chance(a: int, b: int) -> float:
    """A number from 0 to 1 for two, always the same."""
    mixed = (a * _GOLD + b * _SILVER) & 0xFFFFFFFF
    mixed = (mixed ^ mixed >> 15) * _GOLD & 0xFFFFFFFF
    return (mixed ^ mixed >> 13) / 4294967296.0


def _patience(a: int, b: int) -> float:
    """A number for two, always the same, exponential with the mean 1."""
    return -math.log(1.0 - _chance(a, b))
