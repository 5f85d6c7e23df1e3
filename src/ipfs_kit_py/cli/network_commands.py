"""The groups `swarm` and `routing`."""

from __future__ import annotations

from typing import Annotated

import typer

from ipfs_kit_py.cli.options import Request
from ipfs_kit_py.cli.parser import flags, group, perform

swarm = group("swarm", "Connections to peers.")
routing = group("routing", "Ask the network who has content and where peers are, and tell it.")


@swarm.command("connect")
def swarm_connect(context: typer.Context, addresses: list[str]) -> None:
    """Connect to peers by multiaddr with /p2p/ID."""
    perform(context, Request("swarm/connect", tuple(addresses)))


@swarm.command("disconnect")
def swarm_disconnect(context: typer.Context, peers: list[str]) -> None:
    """Close the connections to peers."""
    perform(context, Request("swarm/disconnect", tuple(peers)))


@swarm.command("peers")
def swarm_peers(context: typer.Context) -> None:
    """List connected peers."""
    perform(context, Request("swarm/peers"))


@swarm.command("addrs")
def swarm_addrs(context: typer.Context) -> None:
    """List the known addresses of peers."""
    perform(context, Request("swarm/addrs"))


@routing.command("findprovs")
def routing_findprovs(
    context: typer.Context,
    cids: Annotated[list[str], typer.Argument(metavar="CID")],
    count: Annotated[int, typer.Option("--num-providers", "-n", min=1, help="How many to find of each.")] = 20,
    addresses: Annotated[bool, typer.Option("--verbose", "-v", help="Show their addresses too.")] = False,
) -> None:
    """Find peers that have content."""
    shown = {"verbose": "true"} if addresses else {}
    perform(context, Request("routing/findprovs", tuple(cids), flags(num_providers=count) | shown))


@routing.command("provide")
def routing_provide(
    context: typer.Context,
    cids: Annotated[list[str], typer.Argument(metavar="CID")],
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="All blocks of the DAGs.")] = False,
) -> None:
    """Tell the network that this node has blocks."""
    perform(context, Request("routing/provide", tuple(cids), flags(recursive=recursive)))


@routing.command("findpeer")
def routing_findpeer(context: typer.Context, peers: Annotated[list[str], typer.Argument(metavar="PEER")]) -> None:
    """Find the addresses of peers by their ids."""
    perform(context, Request("routing/findpeer", tuple(peers)))


@routing.command("get")
def routing_get(
    context: typer.Context, keys: Annotated[list[str], typer.Argument(metavar="KEY", help="/ipns/NAME or /pk/PEER.")]
) -> None:
    """Print the bytes of the best value that the network has for a key."""
    perform(context, Request("routing/get", tuple(keys)))


@routing.command("put")
def routing_put(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="/ipns/NAME or /pk/PEER.")],
    path: Annotated[str, typer.Argument(metavar="FILE", help="A signed record; - is standard input.")],
) -> None:
    """Have the network keep a signed value."""
    perform(context, Request("routing/put", (key,), {}, (path,)))
