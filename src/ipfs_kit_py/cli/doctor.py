"""`ipfs-kit doctor`: looks at what a node needs and says what to do. It changes nothing in the repo."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.cli import doctor_host, doctor_network
from ipfs_kit_py.cli.finding import OK, PROBLEM, Finding
from ipfs_kit_py.cli.output import say
from ipfs_kit_py.core.errors import IPFSKitError
from ipfs_kit_py.core.text import printable
from ipfs_kit_py.repo import Repo, default_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfs_kit_py.cli.options import Options
    from ipfs_kit_py.core.config import NodeConfig


@dataclass
class _Outcome:
    problems: int = 0
    warnings: int = 0


def run(options: Options) -> int:
    """Check and print; 1 where there is a problem."""
    repo = Repo(options.repo or default_path())
    outcome = _Outcome()

    def tell(findings: Iterable[Finding]) -> None:
        for finding in findings:
            outcome.problems += finding.state == PROBLEM
            outcome.warnings += finding.state not in (OK, PROBLEM)
            say(json.dumps(asdict(finding)) if options.json else _lines(finding))

    tell(doctor_host.program())
    tell(doctor_host.folder(repo))
    config = _configuration(repo, options)
    if isinstance(config, Finding):
        tell([config])
    else:
        tell(doctor_host.identity(repo, config))
        tell(doctor_host.clock(repo))
        tell(doctor_host.disk(repo, config))
        tell(doctor_host.limits(config))
        daemon = repo.daemon_address()
        tell(doctor_network.ports(repo, config, daemon))
        tell(doctor_network.reach(config))
        trio.run(doctor_network.others, config, options, daemon, tell)
    if not options.json:
        say(f"{outcome.problems} problems, {outcome.warnings} warnings")
    return 1 if outcome.problems else 0


def _configuration(repo: Repo, options: Options) -> NodeConfig | Finding:
    try:
        return repo.config(role=options.role, offline=options.offline or None)
    except IPFSKitError as error:
        return Finding("configuration", PROBLEM, str(error), f"edit {repo.config_path}; `ipfs-kit config` shows it")


def _lines(finding: Finding) -> str:
    line = printable(f"{finding.state:8}{finding.name}: {finding.text}")
    return f"{line}\n        -> {printable(finding.advice)}" if finding.advice else line
