"""Kubo 0.43.1: a daemon with a throw-away repository, driven over its HTTP RPC.

It listens on loopback alone and talks to no one by itself: no bootstrap, mDNS, routing, AutoConf, telemetry or
version check. Source of the calls: docs.ipfs.tech/reference/kubo/rpc.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import stat
import subprocess
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import quote_plus, urlencode

from test.peers.process import CALL_SECONDS, LOG_TAIL, STOP_SECONDS, PeerFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READ_BYTES = 1 << 20
# The daemon ends with our end of the pipe, even where this process is killed: an orphan would stay for ever.
_GUARDED = '"$0" daemon & exec >&-; cat >/dev/null; kill $!; wait $!'


class Fetched(NamedTuple):
    """What a stream of bytes was: its SHA-256 in hex and its length in bytes."""

    sha256: str
    size: int


def _configure(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with everything off that would make the node talk to someone it was not told of."""
    config["Bootstrap"] = []
    config["Addresses"].update(
        Swarm=["/ip4/127.0.0.1/tcp/0"], API="/ip4/127.0.0.1/tcp/0", Gateway=[], Announce=[], NoAnnounce=[]
    )
    config["AutoConf"] = {"Enabled": False}
    config["AutoTLS"] = {"Enabled": False}
    config["Discovery"]["MDNS"]["Enabled"] = False
    config["DNS"] = {"Resolvers": {}}
    config["HTTPRetrieval"] = {"Enabled": False}
    config["Ipns"]["DelegatedPublishers"] = []
    config["Plugins"] = {"Plugins": {"telemetry": {"Config": {"Mode": "off"}}}}
    config["Provide"] = {"Enabled": False}
    config["Routing"] = {"Type": "none", "DelegatedRouters": []}
    config["Version"] = {"SwarmCheckEnabled": False}
    config["AutoNAT"] = {"ServiceMode": "disabled"}
    config["Swarm"].update(
        DisableNatPortMap=True,
        EnableHolePunching=False,
        RelayClient={"Enabled": False},
        RelayService={"Enabled": False},
    )
    return config


def _set(config: dict[str, Any], name: str, value: Any) -> None:
    *above, last = name.split(".")
    for part in above:
        config = config.setdefault(part, {})
    config[last] = value


class Kubo:
    """One daemon. ``profile`` is the import profile of IPIP-499 that ``add`` follows. ``settings`` go over its
    configuration, by dotted names; ``gateway`` has it listen as a gateway too, at ``gateway_url``;
    ``token`` is for its RPC where that wants one."""

    def __init__(
        self,
        binary: Path,
        folder: Path,
        profile: str = "unixfs-v1-2025",
        *,
        gateway: bool = False,
        settings: dict[str, Any] | None = None,
        token: str = "",
    ) -> None:
        self.repo = folder / "repo"
        self._token = token
        self._log = folder / "daemon.log"
        folder.mkdir(parents=True, exist_ok=True)
        env = {
            **os.environ,
            "IPFS_PATH": str(self.repo),
            "IPFS_TELEMETRY": "off",
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
        }
        subprocess.run(
            [binary, "init", "--profile", f"test,{profile}"], env=env, check=True, capture_output=True, timeout=60
        )
        path = self.repo / "config"
        config = _configure(json.loads(path.read_text()))
        if gateway:
            config["Addresses"]["Gateway"] = "/ip4/127.0.0.1/tcp/0"
        for name, value in (settings or {}).items():
            _set(config, name, value)
        path.write_text(json.dumps(config, indent=1))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", _GUARDED, binary],
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_ready()
            me = self.id()
        except BaseException:
            self.close()
            raise
        self.peer_id: str = me["ID"]
        self.addresses: list[str] = me["Addresses"]

    @property
    def address(self) -> str:
        """A TCP address on loopback with the peer id."""
        return next(text for text in self.addresses if text.startswith("/ip4/127.0.0.1/tcp/"))

    @property
    def api_url(self) -> str:
        """Where its RPC is: the URL that ``/api/v0`` is below."""
        return f"http://{self._host}:{self._port}"

    @property
    def gateway_url(self) -> str:
        """Where its gateway listens, as it tells other programs."""
        return (self.repo / "gateway").read_text().strip()

    def _wait_ready(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"Daemon is ready" in line:
                break
        else:
            tail = self._log.read_text(errors="replace")[-LOG_TAIL:]
            raise PeerFailed(f"the Kubo daemon did not start; its log ends with:\n{tail}")
        parts = (self.repo / "api").read_text().strip().split("/")
        self._host, self._port = parts[2], int(parts[4])

    # --- RPC ----------------------------------------------------------------------------------------------------------
    def _open(
        self, path: str, args: tuple[str, ...], options: dict[str, Any], body: Iterator[bytes] | None, timeout: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        named = [
            (name.replace("_", "-"), str(value).lower() if isinstance(value, bool) else value)
            for name, value in options.items()
        ]
        query = urlencode([("arg", arg) for arg in args] + named)
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        try:
            headers = {} if body is None else {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
            if self._token:
                headers["Authorization"] = f"Bearer {self._token}"
            connection.request("POST", f"/api/v0/{path}?{query}", body, headers, encode_chunked=body is not None)
            response = connection.getresponse()
            if response.status != 200:
                text = response.read().decode(errors="replace")
                raise PeerFailed(f"kubo {path} {' '.join(args)}: {response.status} {text.strip()}")
        except BaseException:
            connection.close()
            raise
        return connection, response

    def rpc(
        self,
        path: str,
        *args: str,
        body: Iterator[bytes] | None = None,
        timeout: float = CALL_SECONDS,
        **options: Any,
    ) -> bytes:
        """One call of ``/api/v0/<path>``, its whole answer."""
        connection, response = self._open(path, args, options, body, timeout)
        try:
            return response.read()
        finally:
            connection.close()

    def lines(self, path: str, *args: str, **options: Any) -> list[dict[str, Any]]:
        """One call whose answer is JSON values, one a line."""
        return [json.loads(line) for line in self.rpc(path, *args, **options).splitlines() if line]

    def id(self) -> dict[str, Any]:
        """Peer id, addresses, agent and protocols."""
        return self.lines("id")[0]

    # --- peers --------------------------------------------------------------------------------------------------------
    def connect(self, address: str) -> None:
        """Dial a multiaddr with its peer id."""
        self.rpc("swarm/connect", address)

    def disconnect(self, peer_id: str) -> None:
        """Close the connections to a peer."""
        self.rpc("swarm/disconnect", f"/p2p/{peer_id}")

    def peers(self) -> dict[str, dict[str, Any]]:
        """The connected peers by id, with what is known of each."""
        rows = self.lines("swarm/peers", verbose=True, identify=True)[0]["Peers"] or []
        return {row["Peer"]: row for row in rows}

    def wants_of(self, peer_id: str) -> set[str]:
        """The CIDs that a peer has asked this one for and not got."""
        return {row["/"] for row in self.lines("bitswap/wantlist", peer=peer_id)[0]["Keys"] or []}

    # --- content ------------------------------------------------------------------------------------------------------
    def add(self, path: Path, **options: Any) -> str:
        """Add a file or a folder with all below it; its root CID."""
        return self.add_rows(path, **options)[-1]["Hash"]

    def add_rows(self, path: Path, **options: Any) -> list[dict[str, Any]]:
        """``add``, with a row ``{"Name", "Hash", "Size"}`` for each entry, the root's last."""
        return self.lines("add", body=_form(_tree(path, "file" if path.is_file() else "root")), **options)

    def add_bytes(self, data: bytes, **options: Any) -> str:
        """Add one file's content; its CID."""
        return str(
            self.lines("add", body=_form([_Part("file", "application/octet-stream", [data])]), **options)[-1]["Hash"]
        )

    def fetch(self, path: str, timeout: float = CALL_SECONDS) -> Fetched:
        """Read a file to its end, from the network where it is not here."""
        connection, response = self._open("cat", (path,), {}, None, timeout)
        digest, size = hashlib.sha256(), 0
        try:
            while data := response.read(READ_BYTES):
                digest.update(data)
                size += len(data)
        finally:
            connection.close()
        return Fetched(digest.hexdigest(), size)

    def ls(self, path: str) -> dict[str, str]:
        """Names and CIDs of a directory's entries."""
        rows = self.lines("ls", path, resolve_type=False, size=False, stream=True)
        return {link["Name"]: link["Hash"] for row in rows for found in row["Objects"] for link in found["Links"]}

    def pin(self, cid: str) -> None:
        """Fetch a whole DAG and keep it."""
        self.rpc("pin/add", cid, recursive=True)

    def refs(self, cid: str) -> set[str]:
        """The CIDs of all blocks below a root."""
        return {row["Ref"] for row in self.lines("refs", cid, recursive=True, unique=True)}

    def block_put(self, data: bytes, codec: str = "raw", mhtype: str = "sha2-256") -> str:
        """Store one block; its CID."""
        body = _form([_Part("block", "application/octet-stream", [data])])
        options = {"cid_codec": codec, "mhtype": mhtype, "allow_big_block": True}
        return str(self.lines("block/put", body=body, **options)[-1]["Key"])

    def block_get(self, cid: str) -> bytes:
        """One block's bytes."""
        return self.rpc("block/get", cid)

    def has(self, cid: str) -> bool:
        """Whether the block is in the repository already."""
        try:
            self.rpc("block/stat", cid, offline=True)
        except PeerFailed:
            return False
        return True

    def dag_export(self, cid: str) -> bytes:
        """A CARv1 of the whole DAG."""
        return self.rpc("dag/export", cid, progress=False)

    def dag_import(self, car: bytes, *, pin: bool = True) -> list[str]:
        """Store a CAR's blocks; its roots where they are pinned, which waits for blocks that it lacks."""
        rows = self.lines("dag/import", body=_form([_Part("path", "application/octet-stream", [car])]), pin_roots=pin)
        return [row["Root"]["Cid"]["/"] for row in rows if "Root" in row]

    def collect(self) -> None:
        """Drop every block that no pin holds."""
        self.rpc("repo/gc", silent=True)

    def close(self) -> None:
        """End the daemon."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


# --- multipart --------------------------------------------------------------------------------------------------------
_BOUNDARY = uuid.uuid4().hex


class _Part(NamedTuple):
    name: str
    kind: str
    data: Any  # an iterable of bytes


def _file(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while data := source.read(READ_BYTES):
            yield data


def _tree(path: Path, name: str) -> Iterator[_Part]:
    """A path and all below it, parents first, in the order of their names."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        yield _Part(name, "application/symlink", [os.fsencode(path.readlink())])
    elif stat.S_ISDIR(mode):
        yield _Part(name, "application/x-directory", [])
        for below in sorted(path.iterdir()):
            yield from _tree(below, f"{name}/{below.name}")
    else:
        yield _Part(name, "application/octet-stream", _file(path))


def _form(parts: Any) -> Iterator[bytes]:
    for part in parts:
        yield (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{quote_plus(part.name)}"\r\n'
            f"Content-Type: {part.kind}\r\n\r\n"
        ).encode()
        yield from part.data
        yield b"\r\n"
    yield f"--{_BOUNDARY}--\r\n".encode()
