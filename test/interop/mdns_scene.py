"""Run inside a network namespace of its own: a veth pair to a second one, this project's node on this side, a real peer
on the other. Prints as JSON what each saw of the other. Arguments: ``kubo`` or ``js``, a folder."""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import NodeConfig
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.net import transports
from ipfs_kit_py.net.swarm import Swarm
from ipfs_kit_py.routing.discovery.mdns_driver import MdnsLayer
from test.peers import kubo as kubo_settings
from test.peers import locate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipfs_kit_py.routing.discovery.found import Found

OURS, THEIRS = "10.98.7.1", "10.98.7.2"
SECONDS = 60.0  # Kubo asks when it starts, js-libp2p every 10 s

JS = """
import { createLibp2p } from 'libp2p'
import { tcp } from '@libp2p/tcp'
import { noise } from '@libp2p/noise'
import { yamux } from '@libp2p/yamux'
import { identify } from '@libp2p/identify'
import { mdns } from '@libp2p/mdns'
const node = await createLibp2p({
  addresses: { listen: ['/ip4/%s/tcp/0'] },
  transports: [tcp()], connectionEncrypters: [noise()], streamMuxers: [yamux()],
  peerDiscovery: [mdns()], services: { identify: identify() }
})
console.log(node.peerId.toString())
node.addEventListener('peer:discovery', event =>
  console.log(event.detail.id.toString() + ' ' + event.detail.multiaddrs.join(' ')))
process.stdin.resume()
process.stdin.on('end', () => process.exit(0))
"""


def sh(*command: str | Path, **environment: str) -> str:
    return subprocess.run(
        [str(part) for part in command], check=True, capture_output=True, text=True, env=os.environ | environment
    ).stdout


@contextmanager
def other_side() -> Iterator[list[str]]:
    """A second namespace with the far end of the link; the command that runs something there. Both namespaces, and
    the link with them, are gone with the processes."""
    holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b"ready\n")
        holder.stdin.flush()
        holder.stdout.readline()  # cat runs, so the namespace is there
        inside = ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
        sh("ip", "link", "set", "lo", "up")
        sh("ip", "link", "add", "ours", "type", "veth", "peer", "name", "theirs", "netns", str(holder.pid))
        sh("ip", "addr", "add", f"{OURS}/24", "dev", "ours")
        sh("ip", "link", "set", "ours", "up")
        sh(*inside, "ip", "link", "set", "lo", "up")
        sh(*inside, "ip", "addr", "add", f"{THEIRS}/24", "dev", "theirs")
        sh(*inside, "ip", "link", "set", "theirs", "up")
        # as on any LAN: js-libp2p sends where the route for all others leads
        sh(*inside, "ip", "route", "add", "default", "via", OURS)
        yield inside
    finally:
        holder.communicate()


@contextmanager
def running(command: list[str], **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | environment
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=20)


@contextmanager
def kubo(inside: list[str], folder: Path) -> Iterator[tuple[str, Any]]:
    binary, repo = str(locate.kubo()), str(folder / "repo")
    sh(binary, "init", "--empty-repo", IPFS_PATH=repo)
    path = Path(repo) / "config"
    config = kubo_settings._configure(json.loads(path.read_text()))
    config["Addresses"]["Swarm"] = [f"/ip4/{THEIRS}/tcp/4001"]
    config["Discovery"]["MDNS"]["Enabled"] = True
    path.write_text(json.dumps(config))
    with running([*inside, binary, "daemon"], IPFS_PATH=repo) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Daemon is ready" in line:
                break
        else:
            raise RuntimeError("Kubo did not start")

        def sees(us: str) -> bool:
            return us in sh(*inside, binary, "swarm", "peers", IPFS_PATH=repo)

        yield config["Identity"]["PeerID"], sees


@contextmanager
def js(inside: list[str], folder: Path) -> Iterator[tuple[str, Any]]:
    node, installed = locate.helia()
    (folder / "node_modules").symlink_to(installed / "node_modules")
    script = folder / "peer.mjs"
    script.write_text(JS % THEIRS)
    with running([*inside, str(node), str(script)]) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        said: list[str] = []

        def sees(us: str) -> bool:
            assert process.stdout is not None
            if select.select([process.stdout], [], [], 0)[0]:
                said.append(os.read(process.stdout.fileno(), 1 << 16).decode())
            return f"{us} /ip4/{OURS}/tcp/" in "".join(said)

        yield name, sees


async def watch(them: str, sees: Any, *, dial: bool) -> dict[str, Any]:
    """Listen until both have seen the other; ``dial`` then what was seen."""
    swarm = Swarm(PrivateKey.generate(), NodeConfig(listen=(f"/ip4/{OURS}/tcp/0",)))
    layer = MdnsLayer(swarm.peer_id, transports.interfaces, swarm.addresses, random.Random())
    told: dict[str, tuple[str, ...]] = {}

    def report(found: Found) -> None:
        told[str(found.peer)] = found.addresses

    async with trio.open_nursery() as nursery:
        await nursery.start(swarm.run)
        nursery.start_soon(layer.serve, report)
        seen = False
        with trio.move_on_after(SECONDS):
            while not (seen and them in told):
                await trio.sleep(0.2)
                seen = seen or await trio.to_thread.run_sync(sees, str(swarm.peer_id))
        if dial and them in told:
            await swarm.connect(PeerID.parse(them), told[them])
        result = {
            "they_see_us": seen,
            "we_see_them": list(told.get(them, ())),
            "connected": PeerID.parse(them) in swarm.connected(),
            "outbound": [item.outbound for item in swarm.connections()],
            "statistics": {face: str(row) for face, row in layer.statistics().items()},
        }
        nursery.cancel_scope.cancel()
    return result


def main() -> None:
    kind, folder = sys.argv[1], Path(sys.argv[2])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    peer = {"kubo": kubo, "js": js}[kind]
    with other_side() as inside, peer(inside, folder) as (them, sees):
        # js-libp2p tells of peers but dials none by itself: the connection is ours to make
        result = trio.run(lambda: watch(them, sees, dial=kind == "js"))
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
