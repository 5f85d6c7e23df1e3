"""What the doctor looks at on the network: ports, addresses, peers, remote tiers. Only who is configured is asked."""

from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING, Any

import psutil
import trio

from ipfs_kit_py.cli.finding import OK, PROBLEM, WARNING, Finding
from ipfs_kit_py.core.config import NodeConfig
from ipfs_kit_py.core.errors import IPFSKitError
from ipfs_kit_py.net.addresses import Scope, parse, scope_of_ip, tcp_endpoint
from ipfs_kit_py.node import open_node
from ipfs_kit_py.repo import DEFAULT_API
from ipfs_kit_py.storage.remote.build import TierContext, build_tiers
from ipfs_kit_py.verbs.on_daemon import OnDaemon

if TYPE_CHECKING:
    import ipaddress
    from collections.abc import Callable, Iterable, Iterator

    from typing_extensions import Buffer

    from ipfs_kit_py.cli.options import Options
    from ipfs_kit_py.node import Node
    from ipfs_kit_py.repo import Repo
    from ipfs_kit_py.storage.remote.base import RemoteTier

    Tell = Callable[[Iterable[Finding]], None]

ASK_SECONDS = 10.0  # for one peer or tier to answer
_FAMILIES = {"ip4": socket.AF_INET, "ip6": socket.AF_INET6}


# --- ports and addresses ----------------------------------------------------------------------------------------------
def ports(repo: Repo, config: NodeConfig, daemon: str | None) -> Iterator[Finding]:
    """Whether a daemon could listen."""
    if daemon is not None:
        yield Finding("daemon", OK, f"one runs on this repo; its API is http://{daemon}/api/v0")
        return
    yield Finding("daemon", OK, "none runs on this repo: commands open a node of their own")
    host, _, port = str(repo.settings().get("api", DEFAULT_API)).rpartition(":")
    problem = _cannot_listen(socket.AF_INET6 if ":" in host else socket.AF_INET, host.strip("[]"), port)
    if problem:
        advice = "end what has the port, or ipfs-kit config api 127.0.0.1:0 for any free one"
        yield Finding("API port", WARNING, f"{host}:{port}: {problem}", advice)
    for text in config.listen:
        yield _listening(text)


def _listening(text: str) -> Finding:
    name = f"port {text}"
    try:
        endpoint = tcp_endpoint(parse(text))
    except IPFSKitError as error:
        return Finding(name, PROBLEM, str(error), "an address to listen on looks like /ip4/0.0.0.0/tcp/4001")
    if endpoint is None or endpoint.kind not in _FAMILIES:
        return Finding(name, WARNING, "this version listens on TCP alone: it is skipped", "name a /tcp/ address too")
    problem = _cannot_listen(_FAMILIES[endpoint.kind], endpoint.host, str(endpoint.port))
    if problem:
        return Finding(name, PROBLEM, problem, "end what has it, or choose another port: ipfs-kit config listen '[…]'")
    return Finding(name, OK, "can be listened on")


def _cannot_listen(family: int, host: str, port: str) -> str:
    """Why not, or an empty text."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, int(port)))
            probe.listen()
    except (OSError, ValueError) as error:
        return str(getattr(error, "strerror", None) or error)
    return ""


def reach(config: NodeConfig) -> Iterator[Finding]:
    """From how far away peers can come."""
    scopes = [_scope(text) for text in config.listen]
    farthest = max(scopes, default=Scope.UNUSABLE)
    if farthest <= Scope.LOOPBACK:
        advice = "to be reached: ipfs-kit config listen '[\"/ip4/0.0.0.0/tcp/4001\"]', then run the daemon"
        yield Finding(
            "reach", WARNING, "it listens for programs of this machine alone; fetching works all the same", advice
        )
    elif farthest < Scope.PUBLIC and not config.announce:
        advice = (
            "forward the port on the router and name it: ipfs-kit config announce '[\"/ip4/YOUR-ADDRESS/tcp/4001\"]'"
        )
        yield Finding(
            "reach", WARNING, "it has no public address: peers on its own networks can come, others not", advice
        )
    else:
        yield Finding("reach", OK, "it has a public address, or says where it can be reached")


def _scope(text: str) -> Scope:
    try:
        address = parse(text)
    except IPFSKitError:
        return Scope.UNUSABLE
    if address.ip is None or not address.ip.is_unspecified:
        return address.scope
    return max((scope_of_ip(ip) for ip in _own_ips(address.ip.version)), default=Scope.UNUSABLE)


def _own_ips(version: int) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    for rows in psutil.net_if_addrs().values():
        for row in rows:
            if row.family == family:
                ip = parse(f"/ip{version}/{row.address.partition('%')[0]}/tcp/1").ip
                if ip is not None:
                    yield ip


# --- others -----------------------------------------------------------------------------------------------------------
async def others(config: NodeConfig, options: Options, daemon: str | None, tell: Tell) -> None:
    """Peers and remote tiers, all at once; told as they answer."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_peers, config, options, daemon, tell)
        nursery.start_soon(_tiers, config, tell)


async def _peers(config: NodeConfig, options: Options, daemon: str | None, tell: Tell) -> None:
    if config.offline:
        tell([Finding("peers", WARNING, "the node is offline by its configuration", "ipfs-kit config offline false")])
        return
    if daemon is not None:
        tell([await _of_daemon(daemon)])
    wanted = dict.fromkeys((*options.peers, *config.peer_addresses, *config.bootstrap_addresses))
    if not wanted:
        advice = "name one: --peer MULTIADDR, or ipfs-kit config peers '[\"…\"]', or bootstrap to join the DHT"
        tell([Finding("peers", WARNING, "none is configured: content comes from those that you name", advice)])
        return
    async with (
        open_node(NodeConfig(listen=(), mdns=False, dht_mode="off"), short=True) as node,
        trio.open_nursery() as asked,
    ):
        for address in wanted:
            asked.start_soon(_dial, node, address, tell)


async def _dial(node: Node, address: str, tell: Tell) -> None:
    begun = trio.current_time()
    why = f"no answer within {ASK_SECONDS:g} s"
    with trio.move_on_after(ASK_SECONDS):
        try:
            await node.connect(address)
        except IPFSKitError as error:
            why = str(error)
        else:
            took = 1000 * (trio.current_time() - begun)
            tell([Finding(f"peer {address}", OK, f"connected within {took:.0f} ms")])
            return
    advice = "is it running, is its id right, does a firewall keep the port? Ask its owner for `ipfs-kit id`"
    tell([Finding(f"peer {address}", PROBLEM, why, advice)])


async def _of_daemon(address: str) -> Finding:
    rows = _Rows()
    try:
        with trio.fail_after(ASK_SECONDS):
            await OnDaemon(address).perform("swarm/peers", (), {}, rows)
    except (IPFSKitError, trio.TooSlowError) as error:
        advice = "end it (ipfs-kit daemon holds daemon.lock of the repo) and start it again"
        return Finding("daemon's peers", PROBLEM, str(error) or "the daemon does not answer", advice)
    count = len(rows.rows[0].get("Peers") or ()) if rows.rows else 0
    if count:
        return Finding("daemon's peers", OK, f"{count} connected")
    return Finding("daemon's peers", WARNING, "none connected", "ipfs-kit swarm connect MULTIADDR, or set bootstrap")


class _Rows:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    async def row(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    async def data(self, _data: Buffer) -> None:
        """Rows were asked for."""


async def _tiers(config: NodeConfig, tell: Tell) -> None:
    tiers: list[RemoteTier] = []
    specs = [{key: value for key, value in spec.items() if key != "replicate"} for spec in config.tiers]
    try:
        build_tiers(specs, TierContext(rng=random.Random()), tiers)
    except IPFSKitError as error:
        tell([Finding("tiers", PROBLEM, str(error), "mend its [[tiers]] table in config.toml (docs/tiers.md)")])
    async with trio.open_nursery() as asked:
        for tier in tiers:
            asked.start_soon(_health, tier, tell)


async def _health(tier: RemoteTier, tell: Tell) -> None:
    name, advice = f"tier {tier.name}", "is it running, is its address right, may this machine reach it?"
    try:
        with trio.fail_after(ASK_SECONDS):
            health = await tier.health()
    except (IPFSKitError, OSError, trio.TooSlowError) as error:
        tell([Finding(name, PROBLEM, str(error) or f"no answer within {ASK_SECONDS:g} s", advice)])
    else:
        if health.ok:
            tell([Finding(name, OK, f"answers within {1000 * health.seconds:.0f} ms {health.detail}".rstrip())])
        else:
            tell([Finding(name, PROBLEM, health.detail or "it does not answer", advice)])
    finally:
        with trio.move_on_after(ASK_SECONDS, shield=True):
            await tier.aclose()
