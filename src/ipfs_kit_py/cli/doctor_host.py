"""What the doctor looks at on this machine: program, repo, identity, clock, disk, limits."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import ipfs_kit_py
from ipfs_kit_py import __version__
from ipfs_kit_py.cli.finding import OK, PROBLEM, WARNING, Finding
from ipfs_kit_py.core.errors import IPFSKitError
from ipfs_kit_py.crypto.key_file import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipfs_kit_py.core.config import NodeConfig
    from ipfs_kit_py.repo import Repo

CLOCK_SECONDS = 300.0  # that files may be newer than the clock: those of other machines on a shared disk
LOW_DISK_BYTES = 1 << 30  # free, below which a node soon cannot keep what it is given
FILES_BESIDE_PEERS = 128  # that a node has open beside its connections: databases, libraries, pipes


def program() -> Iterator[Finding]:
    """The program itself."""
    yield Finding("program", OK, f"ipfs-kit {__version__} on Python {platform.python_version()}, {platform.system()}")


def folder(repo: Repo) -> Iterator[Finding]:
    """The repo's folder."""
    path = repo.path
    if not path.exists():
        above = next((parent for parent in path.parents if parent.exists()), path)
        if os.access(above, os.W_OK):
            yield Finding("repo", OK, f"{path} will be made on first use", "ipfs-kit init makes it now")
        else:
            yield Finding("repo", PROBLEM, f"{path} cannot be made: {above} may not be written to", _elsewhere())
    elif not path.is_dir():
        yield Finding("repo", PROBLEM, f"{path} is no folder", _elsewhere())
    elif not os.access(path, os.W_OK | os.X_OK):
        yield Finding("repo", PROBLEM, f"{path} may not be written to by this user", f"chown it, or {_elsewhere()}")
    elif path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield Finding("repo", WARNING, f"{path} may be written to by others", f"chmod 700 {path}")
    else:
        yield Finding("repo", OK, str(path))


def _elsewhere() -> str:
    return "name another with --repo or $IPFS_KIT_PATH"


def identity(repo: Repo, config: NodeConfig) -> Iterator[Finding]:
    """The key that peers know this node by."""
    path = (config.identity_path or repo.identity_path).expanduser()
    if not path.exists():
        yield Finding("identity", OK, f"{path} will be made on first use")
        return
    try:
        key = load(path)
    except (IPFSKitError, OSError) as error:
        yield Finding("identity", PROBLEM, str(error), f"mend that, or remove {path} to get a new identity")
    else:
        yield Finding("identity", OK, str(key.peer_id()))


def clock(repo: Repo) -> Iterator[Finding]:
    """Whether the clock is behind what was written before. Signed names end and begin by it."""
    now = time.time()
    written = [Path(ipfs_kit_py.__file__), repo.config_path, repo.book_path, repo.identity_path]
    newest = max(path.stat().st_mtime for path in written if path.exists())
    if newest > now + CLOCK_SECONDS:
        late = f"{(newest - now) / 3600:.1f} h behind files of this installation"
        yield Finding("clock", PROBLEM, late, "set the clock (NTP): signed records are judged by it")
    else:
        yield Finding("clock", OK, time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)))


def disk(repo: Repo, config: NodeConfig) -> Iterator[Finding]:
    """Room for blocks."""
    above = next(path for path in (repo.path, *repo.path.parents) if path.exists())
    free, quota = shutil.disk_usage(above).free, config.role_policy.storage_max
    used = sum(path.stat().st_blocks * 512 for path in repo.blocks_path.rglob("*") if path.is_file())
    text = f"{_size(free)} free, {_size(used)} used of {_size(quota)} allowed"
    if free < LOW_DISK_BYTES:
        yield Finding("disk", PROBLEM, text, "make room: ipfs-kit cache gc, ipfs-kit repo gc, or move the repo")
    elif quota - used > free:
        advice = f"ipfs-kit config storage_max {used + free // 2}: half of what is free"
        yield Finding("disk", WARNING, text, advice)
    else:
        yield Finding("disk", OK, text)


def limits(config: NodeConfig) -> Iterator[Finding]:
    """How many files may be open: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = config.role_policy.high_water + FILES_BESIDE_PEERS
    if soft != resource.RLIM_INFINITY and soft < needed:
        how = f"ulimit -n {needed}" if hard == resource.RLIM_INFINITY or hard >= needed else "have the limit raised"
        yield Finding("open files", WARNING, f"{soft} allowed, a {config.role} may need {needed}", how)
    else:
        yield Finding("open files", OK, f"{soft} allowed")


def _size(count: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
