"""The dicts that Kubo's RPC answers with. Built here and nowhere else.

Source: Kubo's RPC reference (docs.ipfs.tech/reference/kubo/rpc).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfs_kit_py.core.cid import CID, PeerID

# unixfs.proto's numbers, as `ipfs ls` prints them
_LS_TYPES = {"directory": 1, "hamt-shard": 1, "file": 2, "raw": 2, "metadata": 3, "symlink": 4}


def added(name: str, cid: CID, size: int) -> dict[str, Any]:
    """One line of ``add``; ``size`` is the cumulative size in bytes."""
    return {"Name": name, "Hash": str(cid), "Size": str(size)}


def link(name: str, cid: CID, size: int, kind: str, target: str = "") -> dict[str, Any]:
    """One entry of ``ls``."""
    return {"Name": name, "Hash": str(cid), "Size": size, "Type": _LS_TYPES.get(kind, 0), "Target": target}


def listing(path: str, links: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The answer of ``ls``."""
    return {"Objects": [{"Hash": path, "Links": list(links)}]}


def block_stat(cid: CID, size: int) -> dict[str, Any]:
    """The answer of ``block stat`` and ``block put``."""
    return {"Key": str(cid), "Size": size}


def block_removed(cid: str, error: str = "") -> dict[str, Any]:
    """One line of ``block rm``."""
    return {"Hash": cid, "Error": error} if error else {"Hash": cid}


def cid_link(cid: CID) -> dict[str, Any]:
    """The answer of ``dag put``."""
    return {"Cid": {"/": str(cid)}}


def dag_stat(cid: CID, size: int, blocks: int) -> dict[str, Any]:
    """The answer of ``dag stat``: bytes and number of the unique blocks."""
    row = {"Cid": {"/": str(cid)}, "Size": size, "NumBlocks": blocks}
    return {"UniqueBlocks": blocks, "TotalSize": size, "SharedSize": 0, "Ratio": 1.0, "DagStats": [row]}


def dag_import_root(cid: CID, error: str = "") -> dict[str, Any]:
    """One line of ``dag import``."""
    return {"Root": {"Cid": {"/": str(cid)}, "PinErrorMsg": error}}


def dag_import_stats(blocks: int, size: int) -> dict[str, Any]:
    """The last line of ``dag import`` with ``stats=true``."""
    return {"Stats": {"BlockCount": blocks, "BlockBytesCount": size}}


def pins(cids: Iterable[CID]) -> dict[str, Any]:
    """The answer of ``pin add`` and ``pin rm``."""
    return {"Pins": [str(cid) for cid in cids]}


def pin_listing(rows: Iterable[tuple[CID, str, str]]) -> dict[str, Any]:
    """The answer of ``pin ls``: CID, type (recursive, direct, indirect), name."""
    keys = {str(cid): {"Type": kind, **({"Name": name} if name else {})} for cid, kind, name in rows}
    return {"Keys": keys}


def identity(
    peer: PeerID, public_key: str, addresses: Iterable[str], agent: str, protocols: Iterable[str]
) -> dict[str, Any]:
    """The answer of ``id``; the key in base64."""
    return {
        "ID": str(peer),
        "PublicKey": public_key,
        "Addresses": list(addresses),
        "AgentVersion": agent,
        "Protocols": sorted(protocols),
    }


def swarm_peers(rows: Iterable[tuple[PeerID, str, float | None]]) -> dict[str, Any]:
    """The answer of ``swarm peers``: peer, address, round-trip time in seconds."""
    found = [
        {"Addr": address, "Peer": str(peer), "Latency": f"{rtt * 1000:.3f}ms" if rtt is not None else "n/a"}
        for peer, address, rtt in rows
    ]
    return {"Peers": found or None}


def strings(lines: Iterable[str]) -> dict[str, Any]:
    """The answer of ``swarm connect`` and ``swarm disconnect``."""
    return {"Strings": list(lines)}


def repo_stat(size: int, quota: int, blocks: int, path: str) -> dict[str, Any]:
    """The answer of ``repo stat``; sizes in bytes."""
    return {"RepoSize": size, "StorageMax": quota, "NumObjects": blocks, "RepoPath": path, "Version": "ipfs-kit@1"}


def key_removed(cid: CID) -> dict[str, Any]:
    """One line of ``repo gc``."""
    return {"Key": {"/": str(cid)}}


def verify_progress(message: str, done: int) -> dict[str, Any]:
    """One line of ``repo verify``."""
    return {"Msg": message, "Progress": done}


def version(number: str, system: str) -> dict[str, Any]:
    """The answer of ``version``."""
    return {"Version": number, "Commit": "", "Repo": "1", "System": system, "Golang": ""}


def files_stat(
    cid: CID, kind: str, size: int, cumulative: int, links: int, *, mode: int | None = None,
    mtime: tuple[int, int] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The answer of ``files stat``; ``size`` a file's bytes, ``cumulative`` those of all its blocks; permissions in
    octal and time in seconds and nanoseconds where the content tells them."""
    row = {"Hash": str(cid), "Size": size, "CumulativeSize": cumulative, "Blocks": links, "Type": kind}
    if mode is not None:
        row["Mode"] = f"{mode & 0o7777:04o}"
    if mtime is not None:
        row |= {"Mtime": mtime[0], "MtimeNsecs": mtime[1]} if mtime[1] else {"Mtime": mtime[0]}
    return row


def files_entry(name: str, kind: str, size: int, cid: CID, *, long: bool) -> dict[str, Any]:
    """One entry of ``files ls``; without ``long`` Kubo tells the name alone."""
    if not long:
        return {"Name": name, "Type": 0, "Size": 0, "Hash": ""}
    return {"Name": name, "Type": int(kind == "directory"), "Size": size, "Hash": str(cid)}


def files_root(cid: CID) -> dict[str, Any]:
    """What the verbs answer that change the files."""
    return {"Root": str(cid)}


def error(message: str, code: int = 0, kind: str = "") -> dict[str, Any]:
    """The body of a failed call; ``kind``, which Kubo's has not got, is the class of the error where it is one of
    ours."""
    return {"Message": message, "Code": code, "Type": "error", **({"Kind": kind} if kind else {})}


# The numbers of routing events, as go-libp2p's routing package has them.
FINAL_PEER, PROVIDER, VALUE = 2, 4, 5


def routing_event(kind: int, peers: Iterable[tuple[PeerID, Iterable[str]]] = (), extra: str = "") -> dict[str, Any]:
    """One line of the ``routing`` verbs; ``extra`` is a value in base64."""
    responses = [{"ID": str(peer), "Addrs": list(addresses)} for peer, addresses in peers]
    return {"Extra": extra, "ID": "", "Responses": responses or None, "Type": kind}
