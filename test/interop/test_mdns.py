"""mDNS against real peers, over a veth pair between two network namespaces: loopback has no multicast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from test.peers import locate

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.interop

# root needs no user namespace, and some containers forbid one; others become root in one of their own
UNSHARE = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
SECONDS = 100


def scene(kind: str, folder: Path) -> dict[str, Any]:
    probe = subprocess.run(
        [*UNSHARE, "ip", "link", "add", "name", "probe0", "type", "veth", "peer", "name", "probe1"],
        capture_output=True,
        text=True,
    )
    if probe.returncode:
        pytest.skip(f"no network namespaces here: {probe.stderr.strip()}; as root, or on Ubuntu 24 with "
                    "sysctl kernel.apparmor_restrict_unprivileged_userns=0, there are")  # fmt: skip
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-m", "test.interop.mdns_scene", kind, str(folder)],
        capture_output=True, text=True, timeout=SECONDS, cwd=locate.ROOT,
        env=os.environ | {"PYTHONPATH": f"{locate.ROOT / 'src'}{os.pathsep}{locate.ROOT}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout))


def found(look: Any) -> None:
    try:
        look()
    except locate.PeerMissing as error:
        pytest.skip(str(error))


def test_kubo_sees_and_dials_us_and_we_see_it(tmp_path: Path) -> None:
    found(locate.kubo)
    seen = scene("kubo", tmp_path / "kubo")
    assert seen["they_see_us"], seen
    assert "/ip4/10.98.7.2/tcp/4001" in seen["we_see_them"], seen
    assert seen["outbound"] == [False], "nobody but Kubo dialled"


def test_js_libp2p_sees_us_and_we_see_and_dial_it(tmp_path: Path) -> None:
    found(locate.helia)
    seen = scene("js", tmp_path / "js")
    assert seen["they_see_us"], seen
    assert seen["connected"], seen
    assert seen["outbound"] == [True], "nobody but us dialled"
