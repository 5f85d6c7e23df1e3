"""`make bench`: every figure, as a table and as JSON. `python -m bench.run --help` for the options."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import local, report, small, transfers
from bench.children import ChildFailed
from bench.goals import GROUPS
from bench.report import Row
from bench.stage import MIB, Stage
from test.peers.locate import PeerMissing
from test.peers.process import PeerFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

MEASURE = small.GROUPS | transfers.GROUPS | local.GROUPS
DEFAULT_JSON = Path(__file__).with_name("results.json")
MISSING = "not installed: make peers"
NO_OTHERS = "not installed: pip install '.[bench]'"


def names(text: str) -> list[str]:
    """The groups of an option, in the order of ``GROUPS``."""
    chosen = text.split(",")
    if unknown := [name for name in chosen if name not in GROUPS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: the names are {', '.join(GROUPS)}")
    return [name for name in GROUPS if name in chosen]


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description="Measure, print a table, write JSON.")
    parser.add_argument(
        "--only", type=names, default=list(GROUPS), metavar="NAME[,NAME]", help="some groups of figures"
    )
    parser.add_argument("--quick", action="store_true", help="64 MiB instead of 1 GiB, fewer repetitions")
    parser.add_argument("--list", action="store_true", help="name the groups and their figures")
    parser.add_argument("--json", type=Path, default=DEFAULT_JSON, metavar="PATH", help="default: bench/results.json")
    parser.add_argument("--markdown", action="store_true", help="print the table of docs/performance.md")
    parser.add_argument("--repeat", type=int, metavar="N", help="repetitions of what moves a whole file")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="on the disk to be measured; default: a temporary one"
    )
    return parser.parse_args(argv)


def note(text: str) -> None:
    """Progress, apart from the table."""
    print(text, file=sys.stderr, flush=True)


def measure(name: str, stage: Stage) -> list[Row]:
    """The rows of one group; a failure is a row too, so that the others are still measured."""
    try:
        found = MEASURE[name](stage)
    except PeerMissing:
        return [Row(goal, None, MISSING) for goal in GROUPS[name]]
    except ModuleNotFoundError:
        return [Row(goal, None, NO_OTHERS) for goal in GROUPS[name]]
    except (ChildFailed, PeerFailed, OSError, RuntimeError) as error:
        note(f"{name}: {error}")
        return [Row(goal, None, f"failed: {type(error).__name__}") for goal in GROUPS[name]]
    return [Row(goal, found[goal.name]) for goal in GROUPS[name]]


def run(chosen: argparse.Namespace) -> tuple[list[Row], dict[str, Any]]:
    """Measure what was chosen."""
    repeat, often, size = (2, 3, 64 * MIB) if chosen.quick else (5, 11, 1024 * MIB)
    about, others = report.machine(size), report.Others()
    rows: list[Row] = []
    with Stage(size, chosen.repeat or repeat, often, chosen.folder) as stage:
        note("warming up")
        stage.warm()
        for name in chosen.only:
            started = time.perf_counter()
            rows += measure(name, stage)
            note(f"{name}: {time.perf_counter() - started:.0f} s")
    return rows, about | {"others_cores": others.cores()}


def ended(*_signal: object) -> None:
    """Unwind as on Ctrl-C: what was started is ended, what was written is removed."""
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1 where a measurement failed, whatever the figures are."""
    chosen = options(argv)
    if chosen.list:
        for name, goals in GROUPS.items():
            for goal in goals:
                print(f"{name:8} {goal.name:18} {goal.what:46} {goal.text()}")
        return 0
    signal.signal(signal.SIGTERM, ended)
    try:
        rows, about = run(chosen)
    except KeyboardInterrupt:
        note("interrupted")
        return 130
    print(report.markdown(rows, about) if chosen.markdown else f"{report.table(rows)}\n\n{report.said(about)}")
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps({"machine": about, "figures": [row.json() for row in rows]}, indent=2) + "\n")
    note(f"written to {chosen.json}")
    return int(any(row.problem not in ("", MISSING, NO_OTHERS) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
