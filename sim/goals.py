"""What is to be reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SUCCESS = 0.995
HOPS = 2.25  # "about 2" to the first provider
AGAINST_PLAIN = 0.60
SAVED = 0.97
_ASKED_AT = 10_000  # servers, up to which hops and the sweep have goals: both must grow with the size


@dataclass(frozen=True)
class Goal:
    """One of them, and whether it is met."""

    name: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the value is on the right side."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        sign = "at least" if self.at_least else "at most"
        return f"{'met' if self.met else 'NOT MET'}: {self.name} {self.value:.4g}, {sign} {self.limit:.4g}"


def goals(results: Mapping[str, Mapping[int, Mapping[str, float]]]) -> Iterator[Goal]:
    """The goals for what was run."""
    for size, row in results["ours"].items():
        plain = results["plain"].get(size)
        yield Goal(f"{size}: success", row["success"], SUCCESS, at_least=True)
        if size <= _ASKED_AT:
            yield Goal(f"{size}: hops to the first provider", row["hops"], HOPS)
        if plain is not None:
            for name, what in (("first_p50", "first provider"), ("walk_p50", "whole lookup")):
                yield Goal(f"{size}: {what}, p50 against plain Kademlia", row[name] / plain[name], AGAINST_PLAIN)
        if "sweep_saved" in row:
            if size <= _ASKED_AT:
                yield Goal(f"{size}: lookups saved by the sweep", row["sweep_saved"], SAVED, at_least=True)
            yield Goal(f"{size}: what was swept is found", row["sweep_success"], SUCCESS, at_least=True)
