"""The command: all sizes, with ours and with plain Kademlia, in two processes; a table, a plot and the goals."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from sim.figures import figures
from sim.goals import goals
from sim.plot import plot
from sim.run import Plan, run
from sim.table import table

SIZES = (1_000, 10_000, 50_000)
PROCESSES = 2
_NICE = 10
DOC = Path(__file__).resolve().parent.parent / "docs" / "routing.md"
_BEGIN, _END = "<!-- simulate: begin -->", "<!-- simulate: end -->"
_MEASURED = 3, 2  # servers and clients
_SWEPT = 100_000
Figures = dict[str, float]


def plans(sizes: list[int], seed: int, hours: float, finds: int) -> list[Plan]:
    """What is to be run, the longest first."""
    found = []
    servers, clients = _MEASURED
    for size in sorted(sizes, reverse=True):
        base = Plan(
            size,
            servers=servers,
            clients=clients,
            keys=max(20, finds // 5),
            finds=finds,
            cycle=hours * 3600.0,
            seed=seed,
        )
        found += [replace(base, sweep=_SWEPT), replace(base, kind="plain")]
    return found


def _work(plan: Plan) -> tuple[Plan, Figures]:
    os.nice(max(0, _NICE - os.nice(0)))
    row = figures(run(plan, _say))
    _say(f"{plan.kind} {plan.size}: {json.dumps(row)}")
    return plan, row


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def simulate(found: list[Plan]) -> dict[str, dict[int, Figures]]:
    """Run the plans; the figures by kind and size."""
    results: dict[str, dict[int, Figures]] = {"ours": {}, "plain": {}}
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for future in as_completed([pool.submit(_work, plan) for plan in found]):
            plan, row = future.result()
            results[plan.kind][plan.size] = row
    return {kind: dict(sorted(rows.items())) for kind, rows in results.items()}


def write(results: dict[str, dict[int, Figures]]) -> None:
    """Put the table into the page, and the plot beside it."""
    before, rest = DOC.read_text().split(_BEGIN)
    after = rest.split(_END)[1]
    DOC.write_text(f"{before}{_BEGIN}\n{table(results)}\n{_END}{after}")
    DOC.with_name("routing-size.svg").write_text(plot(results))


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 where all goals are met."""
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, help=f"servers online; default {SIZES}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hours", type=float, default=22.0, help="of the cycle in which things are looked for")
    parser.add_argument("--finds", type=int, default=2000, help="searches for a provider, of each run")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--write", action="store_true", help="put table and plot into docs/routing.md")
    args = parser.parse_args(argv)
    began = time.monotonic()
    results = simulate(plans(args.sizes or list(SIZES), args.seed, args.hours, args.finds))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    if args.write:
        write(results)
    found = list(goals(results))
    lines = [table(results), "", *map(str, found), f"{time.monotonic() - began:.0f} s in {PROCESSES} processes", ""]
    sys.stdout.write("\n".join(lines))
    return 0 if all(goal.met for goal in found) else 1
