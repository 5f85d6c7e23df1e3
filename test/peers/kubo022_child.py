"""The child of ``kubo022.py``: ``python kubo022_child.py LIBRARY REPO ROUTING`` runs one Kubo 0.22.0 node in this
process."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distance import far  # beside this file

if TYPE_CHECKING:
    from collections.abc import Callable

# Kubo 0.22 takes a want for refused once it has waited twice as long as the last few answers took, however short that
# is, and takes a peer that refused 17 wants in a row out of its session, for good where no block comes after (later
# versions wait 50 ms at least and keep the order). On loopback an answer takes 2 ms and any stir of the scheduler that
# long again: one folder of 10,000 files in ten never came to its end. So whoever it dials is as far away as a peer on
# a network.
LATENCY = 0.01  # seconds each way

_TEXT, _INT = ctypes.c_char_p, ctypes.c_int
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "CreateRepo": (_INT, [_TEXT]),
    "RunNode": (_INT, [_TEXT]),
    "CleanupNode": (_INT, [_TEXT]),
    "GetNodeID": (_TEXT, [_TEXT]),
    "GetNodeMultiAddrs": (_TEXT, [_TEXT]),
    "AddFile": (_TEXT, [_TEXT, _TEXT, ctypes.c_bool]),
    "Download": (_INT, [_TEXT, _TEXT, _TEXT]),
    "PinCID": (_INT, [_TEXT, _TEXT]),
    "ConnectToPeer": (_INT, [_TEXT, _TEXT]),
    "ListPeersIDs": (_TEXT, [_TEXT]),
    "FindPeer": (_TEXT, [_TEXT, _TEXT, _INT]),
}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _configure(repo: Path, routing: str) -> None:
    path = repo / "config"
    config = json.loads(path.read_text())
    config["Bootstrap"] = []
    config["Discovery"] = {"MDNS": {"Enabled": False}}
    config["Addresses"].update(
        Swarm=[f"/ip4/127.0.0.1/tcp/{_free_port()}"], API=[], Gateway=[], Announce=[], NoAnnounce=[]
    )
    for mount in config["Datastore"]["Spec"]["mounts"]:
        mount["child"]["sync"] = False  # how fast the disk of the machine is must not be tested
    config["AutoNAT"] = {"ServiceMode": "disabled"}
    config["Routing"] = {"Type": routing}
    config["Reprovider"] = {"Interval": "0" if routing == "none" else "22h"}
    config["Swarm"].update(
        DisableNatPortMap=True,
        EnableHolePunching=False,
        RelayClient={"Enabled": False},
        RelayService={"Enabled": False},
    )
    path.write_text(json.dumps(config))


class _Library:
    """The calls that the child answers, each ending in an error where the library says so."""

    def __init__(self, library: ctypes.CDLL, repo: Path, routing: str) -> None:
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        self._library, self._routing = library, routing
        self._repo = os.fsencode(repo)

    def _status(self, name: str, *args: str) -> None:
        status = getattr(self._library, name)(self._repo, *map(os.fsencode, args))
        if status < 0 or (name == "RunNode" and status != 1):
            raise RuntimeError(f"{name}{args} returned {status}")

    def start(self) -> dict[str, Any]:
        self._status("CreateRepo")
        _configure(Path(os.fsdecode(self._repo)), self._routing)
        self._status("RunNode")
        peer_id = self._library.GetNodeID(self._repo).decode()
        addresses = json.loads(self._library.GetNodeMultiAddrs(self._repo))
        return {"ready": True, "peer_id": peer_id, "addresses": [f"{text}/p2p/{peer_id}" for text in addresses]}

    def add(self, path: str) -> str:
        cid = self._library.AddFile(self._repo, os.fsencode(path), False)
        if not cid:
            raise RuntimeError(f"AddFile({path}) failed")
        return str(cid.decode())

    def get(self, cid: str, path: str) -> None:
        self._status("Download", cid, path)

    def connect(self, address: str) -> None:
        protocol, host, tcp, port, *rest = address.split("/")[1:]
        if (protocol, tcp) != ("ip4", "tcp"):
            raise ValueError(f"{address} has to begin with /ip4/<host>/tcp/<port>")
        host, number = far((host, int(port)), LATENCY)
        self._status("ConnectToPeer", "/".join(("", protocol, host, tcp, str(number), *rest)))

    def find_peer(self, peer_id: str) -> list[str]:
        return list(json.loads(self._library.FindPeer(self._repo, os.fsencode(peer_id), 20) or b"[]") or [])

    def pin(self, cid: str) -> None:
        self._status("PinCID", cid)

    def peers(self) -> list[str]:
        return list(json.loads(self._library.ListPeersIDs(self._repo) or b"[]") or [])

    def stop(self) -> None:
        self._library.CleanupNode(self._repo)


def _child(library_path: str, repo: Path, routing: str) -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1)  # ours alone: Go code may print to descriptor 1
    os.dup2(2, 1)
    repo.mkdir(parents=True, exist_ok=True)
    os.chdir(repo)  # the library opens ./kubo.log as it is loaded
    library = _Library(ctypes.CDLL(library_path), repo, routing)
    operations: dict[str, Callable[..., Any]] = {
        "add": library.add,
        "get": library.get,
        "connect": library.connect,
        "findPeer": library.find_peer,
        "pin": library.pin,
        "peers": library.peers,
    }
    replies.write(json.dumps(library.start()) + "\n")
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"value": operations[request["op"]](*request["args"])}
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            answer = {"error": repr(error)}
        replies.write(json.dumps(answer) + "\n")
    library.stop()
    os._exit(0)  # the Go runtime cannot be unloaded: an ordinary exit may hang in it


if __name__ == "__main__":
    _child(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
