"""A daemon of ours in its own process, for tests of what talks to one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Self

from ipfs_kit_py.repo import Repo

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-m", "ipfs_kit_py.cli"]


class Daemon:
    """``ipfs-kit daemon`` on a repo, on free ports of loopback, ended with the context."""

    def __init__(self, repo: Path, **settings: object) -> None:
        self.repo = repo
        made = Repo(repo)
        made.ensure()
        made.set("api", "127.0.0.1:0")
        for name, value in settings.items():
            made.set(name, value)
        self._process = subprocess.Popen(
            [*COMMAND, "--repo", str(repo), "--json", "daemon"], stdout=subprocess.PIPE, env=dict(os.environ), text=True
        )
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        self.peer_id: str = told["ID"]
        self.addresses: list[str] = told["Addresses"]
        self.api: str = told["API"]

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
