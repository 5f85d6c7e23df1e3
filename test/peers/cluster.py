"""IPFS Cluster 1.1.6: peers of one cluster with CRDT consensus, each over a Kubo of its own, all on loopback.

A peer's configuration is the one that it writes itself, with short intervals and nothing that talks to strangers. The
Kubos are connected to each other.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Self

from test.peers.kubo import Kubo
from test.peers.process import LOG_TAIL, START_SECONDS, STOP_SECONDS, PeerFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

POLL_SECONDS = 0.05
SECRET = "5e" * 32  # the key of the cluster's own network
# The daemon ends with our end of the pipe, even where this process is killed: an orphan would stay for ever.
_GUARDED = '"$@" & exec >&-; cat >/dev/null; kill $!; wait $!'


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on; they stay reserved for no one, so use them soon."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def until(true: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Wait for a state of another process; ``PeerFailed`` where it does not come."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise PeerFailed(f"{what}: not within {seconds} s")
        time.sleep(POLL_SECONDS)


class ClusterPeer:
    """One ``ipfs-cluster-service`` over ``kubo``. ``others`` are multiaddrs of peers to join; ``credentials`` are the
    users and passwords of both its HTTP interfaces; ``settings`` go over its configuration, by dotted names."""

    def __init__(
        self,
        binary: Path,
        folder: Path,
        kubo: Kubo,
        *,
        others: Sequence[str] = (),
        credentials: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.kubo = kubo
        self.folder = folder
        self._credentials = dict(credentials or {})
        self._binary = binary
        self._others = list(others)
        self._env = {**os.environ, "CLUSTER_SECRET": SECRET, "HOME": str(folder)}
        folder.mkdir(parents=True, exist_ok=True)
        self._run("init", "--consensus", "crdt")
        swarm, rest, proxy, pinning = free_ports(4)
        self.api_url, self.proxy_url, self.pinning_url = (f"http://127.0.0.1:{port}" for port in (rest, proxy, pinning))
        node = f"/ip4/127.0.0.1/tcp/{kubo.api_url.rpartition(':')[2]}"
        path = folder / "service.json"
        config = json.loads(path.read_text())
        self._configure(config, node, swarm, rest, proxy, pinning, credentials)
        for name, value in (settings or {}).items():
            *above, last = name.split(".")
            part = config
            for key in above:
                part = part[key]
            part[last] = value
        path.write_text(json.dumps(config))
        self.peer_id: str = json.loads((folder / "identity.json").read_text())["id"]
        self.address = f"/ip4/127.0.0.1/tcp/{swarm}/p2p/{self.peer_id}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @staticmethod
    def _configure(
        config: dict[str, Any],
        node: str,
        swarm: int,
        rest: int,
        proxy: int,
        pinning: int,
        credentials: Mapping[str, str] | None,
    ) -> None:
        config["cluster"].update(
            listen_multiaddress=[f"/ip4/127.0.0.1/tcp/{swarm}"],
            enable_relay_hop=False,
            mdns_interval="0s",
            monitor_ping_interval="1s",
            peer_watch_interval="1s",
            state_sync_interval="1s",
            dial_peer_timeout="2s",
        )
        config["consensus"]["crdt"]["repair_interval"] = "5s"
        config["cluster"]["pubsub"]["heartbeat_interval"] = "1s"
        config["monitor"]["pubsubmon"]["check_interval"] = "1s"
        config["ipfs_connector"]["ipfshttp"].update(node_multiaddress=node, connect_swarms_delay="1s")
        config["api"]["ipfsproxy"].update(node_multiaddress=node, listen_multiaddress=f"/ip4/127.0.0.1/tcp/{proxy}")
        for name, port in (("restapi", rest), ("pinsvcapi", pinning)):
            config["api"][name].update(
                http_listen_multiaddress=f"/ip4/127.0.0.1/tcp/{port}",
                basic_auth_credentials=dict(credentials) if credentials else None,
            )
        pebble = config["datastore"]["pebble"]["pebble_options"]
        pebble.update(cache_size_bytes=8 << 20, mem_table_size=4 << 20)
        for informer in config["informer"].values():
            informer["metric_ttl"] = "3s"

    def _run(self, *args: str) -> None:
        command = [str(self._binary), "--config", str(self.folder), *args]
        done = subprocess.run(command, env=self._env, capture_output=True, timeout=START_SECONDS, check=False)
        if done.returncode:
            raise PeerFailed(f"ipfs-cluster-service {args[0]}: {done.stderr.decode(errors='replace')[-LOG_TAIL:]}")

    def start(self) -> None:
        """Run the daemon until it answers."""
        command = [str(self._binary), "--config", str(self.folder), "daemon"]
        if self._others:
            command += ["--bootstrap", ",".join(self._others)]
        with (self.folder / "daemon.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", _GUARDED, "sh", *command],
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            until(self._answers, "ipfs-cluster-service answers")
        except PeerFailed as error:
            self.close()
            raise PeerFailed(f"{error}; {self.log_tail()}") from None

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise PeerFailed("ipfs-cluster-service went away")
        try:
            with urllib.request.urlopen(f"{self.api_url}/health", timeout=STOP_SECONDS) as answer:  # needs no password
                return bool(answer.status == 204)
        except (urllib.error.URLError, OSError):
            return False

    def allottable(self) -> set[str]:
        """The ids of the peers that it can allot pins to."""
        request = urllib.request.Request(f"{self.api_url}/monitor/metrics/freespace")
        for user, password in self._credentials.items():
            login = base64.b64encode(f"{user}:{password}".encode()).decode()
            request.add_header("Authorization", f"Basic {login}")
        with urllib.request.urlopen(request, timeout=STOP_SECONDS) as answer:
            rows = json.loads(answer.read()) or []
        return {row["peer"] for row in rows if row["valid"]}

    def log_tail(self) -> str:
        """The end of its log."""
        text = (self.folder / "daemon.log").read_text(errors="replace")
        return f"its log ends with:\n{text[-LOG_TAIL:]}"

    def close(self) -> None:
        """End the daemon."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


class Cluster:
    """Some peers of one cluster, each over its own Kubo."""

    def __init__(
        self,
        ipfs: Path,
        service: Path,
        folder: Path,
        *,
        peers: int = 3,
        credentials: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.kubos: list[Kubo] = []
        self.peers: list[ClusterPeer] = []
        try:
            for at in range(peers):
                kubo = Kubo(ipfs, folder / f"kubo{at}")
                self.kubos.append(kubo)
                first = [self.peers[0].address] if self.peers else []
                peer = ClusterPeer(
                    service,
                    folder / f"cluster{at}",
                    kubo,
                    others=first,
                    credentials=credentials,
                    settings=settings,
                )
                self.peers.append(peer)
            self._wait_together()
        except BaseException:
            self.close()
            raise

    def _wait_together(self) -> None:
        """Connect every Kubo to all, and wait until every peer can allot pins to all. A cluster connects its Kubos
        once, when it knows few; one that looks for a block before it knows anybody looks again a minute later."""
        for at, kubo in enumerate(self.kubos):
            for other in self.kubos[:at]:
                kubo.connect(other.address)
        for peer in self.peers:
            until(
                lambda peer=peer: len(peer.allottable()) == len(self.peers), "the peers of the cluster hear each other"
            )

    def close(self) -> None:
        """End all of them."""
        for peer in self.peers:
            peer.close()
        for kubo in self.kubos:
            kubo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
