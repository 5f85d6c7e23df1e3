"""What came out: a table, the same as Markdown, and JSON with every repetition."""

from __future__ import annotations

import datetime
import os
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.goals import Goal, Measured

HEAD = ("what", "figure", "goal", "met", "ratio within this run", "spread")
LIBRARIES = ("trio", "cryptography", "lmdb", "protobuf")


@dataclass(frozen=True)
class Row:
    """One figure with its goal, or why there is none."""

    goal: Goal
    measured: Measured | None
    problem: str = ""

    @property
    def value(self) -> float | None:
        """The median."""
        return None if self.measured is None else median(self.measured.values)

    @property
    def share(self) -> float | None:
        """The median of the shares of the yardstick, each measured in turns with it."""
        return median(self.measured.shares) if self.measured and self.measured.shares else None

    @property
    def met(self) -> bool | None:
        """Whether it is what it should be."""
        return None if self.value is None else self.goal.met(self.value, self.share)

    def cells(self) -> tuple[str, ...]:
        """The columns of ``HEAD``."""
        goal = self.goal
        if self.measured is None or self.value is None:
            return (goal.what, self.problem, goal.text(), "", "", "")
        low, high = min(self.measured.values), max(self.measured.values)
        ratio = "" if self.share is None else f"{self.share:.2f} x {goal.yardstick}"
        met = "" if self.met is None else "yes" if self.met else "NO"
        figure = f"{plain(self.value)} {goal.unit}".rstrip()
        spread = f"{plain(low)} .. {plain(high)} ({len(self.measured.values)})"
        return (goal.what, figure, goal.text(), met, ratio, spread)

    def json(self) -> dict[str, Any]:
        """Everything that is known of it."""
        measured = self.measured
        return {
            "name": self.goal.name,
            "what": self.goal.what,
            "unit": self.goal.unit,
            "goal": self.goal.text(),
            "yardstick": self.goal.yardstick,
            "median": self.value,
            "ratio": self.share,
            "met": self.met,
            "values": [] if measured is None else measured.values,
            "ratios": [] if measured is None else measured.shares,
            "problem": self.problem,
        }


def plain(value: float) -> str:
    """Three figures that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def widths(rows: Iterable[Sequence[str]]) -> list[int]:
    """The width of each column."""
    return [max(map(len, column)) for column in zip(HEAD, *rows, strict=True)]


def line(cells: Sequence[str], wide: list[int]) -> str:
    """One aligned line of the table."""
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, wide, strict=True)).rstrip()


def table(rows: Sequence[Row]) -> str:
    """The table, aligned."""
    cells = [row.cells() for row in rows]
    wide = widths(cells)
    return "\n".join([line(HEAD, wide), line(["-" * width for width in wide], wide), *(line(c, wide) for c in cells)])


def markdown(rows: Sequence[Row], about: dict[str, Any]) -> str:
    """The table for ``docs/performance.md``, with what it was measured on."""
    mark = {">=": "≥", "<=": "≤", " x ": " × ", " <- ": " ← ", " .. ": "–"}
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for row in rows:
        text = "| " + " | ".join(row.cells()) + " |"
        for plainly, nicely in mark.items():
            text = text.replace(plainly, nicely)
        lines.append(text)
    return "\n".join([*lines, "", said(about)])


def machine(size: int) -> dict[str, Any]:
    """What a figure depends on beside the code."""
    info = Path("/proc/cpuinfo")
    names = [text for text in info.read_text().splitlines() if text.startswith("model name")] if info.exists() else []
    return {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "cpu": names[0].partition(":")[2].strip() if names else platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "file_mib": size >> 20,
    }


class Others:
    """How much of the machine other work took, from here to the end: what makes a run worth little."""

    def __init__(self) -> None:
        self._start = self._now()

    def cores(self) -> float:
        """Cores that were busy with something else, on average; processes of ours must have ended."""
        wall, busy, ours = (end - start for end, start in zip(self._now(), self._start, strict=True))
        return round(max(0.0, busy - ours) / wall, 2)

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """Seconds: of the clock, of all cores' work, of our own and our ended children's."""
        total = psutil.cpu_times()
        idle = total.idle + getattr(total, "iowait", 0.0) + getattr(total, "guest", 0.0)
        return time.monotonic(), sum(total) - idle, sum(os.times()[:4])


def said(about: dict[str, Any]) -> str:
    """The same in a sentence."""
    libraries = ", ".join(f"{name} {number}" for name, number in about["libraries"].items())
    return (
        f"{about['when']}, {about['cores']} cores of {about['cpu']}, {about['system']}, Python {about['python']}, "
        f"{libraries}; a file of {about['file_mib']} MiB; other work took {about['others_cores']} cores."
    )
