"""What IPFS Cluster says of pins and is told of them: values, read with care from its JSON.

Source: ipfs-cluster 1.1.6 api/types.go.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import CLUSTER_MAX_NAME, CLUSTER_MAX_PEERS
from ipfs_kit_py.core.errors import BackendError, ConfigError, InvalidCID
from ipfs_kit_py.core.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

EVERYWHERE = -1  # a replication factor: on all peers
STATE_CHARS, TEXT_CHARS, TOKEN_CHARS = 40, 300, 8192


@dataclass(frozen=True)
class PeerPin:
    """What one peer says of a pin: ``state`` is the cluster's word (``pinned``, ``pin_error``, ``remote`` …)."""

    state: str
    name: str = ""
    error: str = ""


@dataclass(frozen=True)
class PinMap:
    """A pin as its peers have it, by peer id. It is what was observed; an ``Allocation`` is what is wanted."""

    cid: CID
    peers: Mapping[str, PeerPin]
    name: str = ""

    @property
    def pinned(self) -> list[str]:
        """The peers that have it."""
        return [peer for peer, found in self.peers.items() if found.state == "pinned"]


@dataclass(frozen=True)
class Allocation:
    """A pin as it is wanted: the peers that shall have it (none where it is all of them), how many at least and at
    most, and until when (RFC 3339, the cluster's clock; empty for ever)."""

    cid: CID
    peers: tuple[str, ...]
    least: int
    most: int
    name: str = ""
    expires: str = ""


@dataclass(frozen=True)
class PinOptions:
    """How a pin is wanted. ``least`` and ``most`` are replication factors: 0 for the cluster's own, ``EVERYWHERE`` for
    all peers. ``expires`` are seconds until the cluster unpins it, 0 for never."""

    least: int = 0
    most: int = 0
    expires: int = 0
    meta: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        everywhere = EVERYWHERE in (self.least, self.most)
        if min(self.least, self.most) < EVERYWHERE or self.expires < 0 or (everywhere and self.least != self.most):
            raise ConfigError("replication factors are at least 0, or both -1 for all peers; expiry is at least 0 s")
        if self.least and self.most < self.least:
            raise ConfigError(f"the replication of at least {self.least} is more than that of at most {self.most}")

    def query(self, label: str) -> list[tuple[str, str]]:
        """As parameters of a request."""
        found: list[tuple[str, str]] = [("name", label[:CLUSTER_MAX_NAME])] if label else []
        if self.least or self.most:
            found += [("replication-min", str(self.least)), ("replication-max", str(self.most))]
        if self.expires:
            found.append(("expire-in", f"{self.expires}s"))
        return found + [(f"meta-{key}", value) for key, value in self.meta]


# --- what it says -----------------------------------------------------------------------------------------------------
def parse_object(data: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise BackendError(f"{what}: the answer is no JSON") from None
    if not isinstance(value, dict):
        raise BackendError(f"{what}: the answer is no JSON object")
    return value


def text_of(row: Mapping[str, Any], key: str, most: int) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BackendError(f"the cluster's answer has {type(value).__name__} at {key}, where text belongs")
    return printable(value[:most])


def _number(row: Mapping[str, Any], key: str) -> int:
    value = row.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not EVERYWHERE <= value <= 1 << 32:
        raise BackendError(f"the cluster's answer has no number at {key}")
    return value


def cid_of(value: Any, what: str = "the cluster's answer") -> CID:
    """A CID: text, or in older versions a link of dag-json."""
    text = value.get("/") if isinstance(value, dict) else value
    try:
        return CID.parse(text)  # type: ignore[arg-type]
    except InvalidCID:
        raise BackendError(f"{what} has no CID where one belongs") from None


def _asked(row: Mapping[str, Any], asked: CID | None) -> CID:
    cid = cid_of(row.get("cid"))
    if asked is not None and cid.multihash != asked.multihash:
        raise BackendError(f"asked about {asked}, the cluster answers about {cid}")
    return cid


def allocation_of(row: Mapping[str, Any], asked: CID | None = None) -> Allocation:
    cid = _asked(row, asked)
    peers = row.get("allocations") or []
    if not isinstance(peers, list) or len(peers) > CLUSTER_MAX_PEERS or not all(isinstance(x, str) for x in peers):
        raise BackendError(f"the cluster's answer has no list of peers for {cid}")
    expires = text_of(row, "expire_at", STATE_CHARS)
    return Allocation(
        cid=cid,
        peers=tuple(printable(peer[:TEXT_CHARS]) for peer in peers),
        least=_number(row, "replication_factor_min"),
        most=_number(row, "replication_factor_max"),
        name=text_of(row, "name", CLUSTER_MAX_NAME),
        expires="" if expires.startswith(("0001-", "1970-01-01T00:00:00")) else expires,  # Go's zero and that of Unix
    )


def pin_map_of(row: Mapping[str, Any], asked: CID | None = None) -> PinMap:
    cid = _asked(row, asked)
    rows = row.get("peer_map") or {}
    if not isinstance(rows, dict) or len(rows) > CLUSTER_MAX_PEERS:
        raise BackendError(f"the cluster's answer has no map of peers for {cid}")
    peers: dict[str, PeerPin] = {}
    for peer, found in rows.items():
        if not isinstance(found, dict):
            raise BackendError(f"the cluster's answer says nothing of a peer of {cid}")
        state = text_of(found, "status", STATE_CHARS).lower()
        peers[printable(peer[:TEXT_CHARS])] = PeerPin(
            state, text_of(found, "peername", TEXT_CHARS), text_of(found, "error", TEXT_CHARS)
        )
    return PinMap(cid, peers, text_of(row, "name", CLUSTER_MAX_NAME))


def metrics_of(body: bytes) -> dict[str, int]:
    """Of a list of metrics the valid ones, by peer: how much each weighs."""
    try:
        rows = json.loads(body)
    except (ValueError, RecursionError):
        raise BackendError("the cluster's answer is no JSON") from None
    rows = [] if rows is None else rows
    if not isinstance(rows, list) or len(rows) > CLUSTER_MAX_PEERS or not all(isinstance(row, dict) for row in rows):
        raise BackendError("the cluster's answer has no list of metrics")
    found = {}
    for row in rows:
        weight = row.get("weight", 0)
        if row.get("valid") is True and isinstance(weight, int) and abs(weight) < 1 << 63:
            found[text_of(row, "peer", TEXT_CHARS)] = weight
    return found
