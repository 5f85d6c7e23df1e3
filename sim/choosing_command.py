"""``scripts/simulate_providers``: the table and the plot of docs/routing.md, section "Choosing providers"."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from sim.choosing import RIVALS, WORLDS, Outcome, World, offers, run

DOCS = Path(__file__).resolve().parent.parent / "docs"
BEGIN, END = "<!-- simulate_providers: begin -->", "<!-- simulate_providers: end -->"
COLOURS = ("#1b7f5c", "#9aa5b1", "#5b7db1", "#c98a3b")
PROCESSES = 2


def joined(world: World, seeds: int, fetches: int) -> dict[str, Outcome]:
    """Of each rival all seeds together."""
    results = {rival: Outcome([], 0, 0) for rival in RIVALS}
    for seed in range(1000, 1000 * (seeds + 1), 1000):
        offered = offers(world, seed, fetches // 2 + fetches)
        for rival, whole in results.items():
            one = run(offered, rival, seed, warm=fetches // 2)
            whole.seconds += one.seconds
            whole.wasted += one.wasted
            whole.useful += one.useful
    return results


def table(results: dict[str, dict[str, Outcome]]) -> str:
    """Markdown: of each rival in each world the median and the 99th percentile of seconds, and wasted bytes per 100
    that were of use."""
    lines = ["| world | " + " | ".join(RIVALS) + " |", "|---|" + "---|" * len(RIVALS)]
    for world, row in results.items():
        cells = [
            f"{one.quantile(0.5):.2f} s, {one.quantile(0.99):.1f} s, {100 * one.wasted / max(1, one.useful):.1f}"
            for one in row.values()
        ]
        lines.append(f"| {world} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(results: dict[str, dict[str, Outcome]]) -> str:
    """SVG: the medians as bars, world by world."""
    width, height, left, base = 880, 320, 60, 250
    most = max(one.quantile(0.5) for row in results.values() for one in row.values())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="20">Median seconds until a content is here</text>',
    ]
    for tick in range(5):
        value = most * tick / 4
        y = base - 210 * tick / 4
        parts.append(f'<line x1="{left}" x2="{width - 10}" y1="{y:.0f}" y2="{y:.0f}" stroke="#e3e7ec"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.0f}" text-anchor="end">{value:.1f}</text>')
    group = (width - left - 20) / len(results)
    for number, (world, row) in enumerate(results.items()):
        for at, one in enumerate(row.values()):
            tall = 210 * one.quantile(0.5) / most
            x = left + 10 + number * group + at * (group - 24) / len(row)
            parts.append(
                f'<rect x="{x:.1f}" y="{base - tall:.1f}" width="{(group - 30) / len(row):.1f}" height="{tall:.1f}" '
                f'fill="{COLOURS[at]}"/>'
            )
        parts.append(f'<text x="{left + 10 + number * group:.1f}" y="{base + 18}" font-size="11">{world}</text>')
    for at, rival in enumerate(RIVALS):
        parts.append(f'<rect x="{left + 170 * at}" y="290" width="12" height="12" fill="{COLOURS[at]}"/>')
        parts.append(f'<text x="{left + 170 * at + 18}" y="300">{rival}</text>')
    return "\n".join([*parts, "</svg>", ""])


def main() -> int:
    """Run all worlds; with ``--write`` into the documentation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fetches", type=int, default=1000, help="that count, of each rival, world and seed")
    parser.add_argument("--seeds", type=int, default=4, help="worlds of each kind")
    parser.add_argument("--write", action="store_true", help="put table and plot into docs/")
    options = parser.parse_args()
    with ProcessPoolExecutor(PROCESSES) as pool:
        waiting = {world.name: pool.submit(joined, world, options.seeds, options.fetches) for world in WORLDS}
        results = {name: future.result() for name, future in waiting.items()}
    sys.stdout.write(table(results) + "\n")
    if options.write:
        path = DOCS / "routing.md"
        text = path.read_text(encoding="utf-8")
        head, _mark, rest = text.partition(BEGIN)
        _old, _mark, tail = rest.partition(END)
        path.write_text(f"{head}{BEGIN}\n{table(results)}\n{END}{tail}", encoding="utf-8")
        (DOCS / "routing-providers.svg").write_text(plot(results), encoding="utf-8")
    return 0
