"""``ipfs-kit daemon``: the node of a repo, with its RPC on loopback, until it is stopped."""

from __future__ import annotations

import json
import logging
import signal
import sys
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.cli.output import failing, say
from ipfs_kit_py.gateway.rpc import serve_rpc
from ipfs_kit_py.node import open_node
from ipfs_kit_py.repo import DEFAULT_API, Repo, default_path

if TYPE_CHECKING:
    from ipfs_kit_py.cli.options import Options
    from ipfs_kit_py.node import Node


def run(options: Options, api: str | None) -> int:
    """Run the daemon; returns the exit code."""
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    with failing() as outcome:
        repo = Repo(options.repo or default_path())
        with repo.daemon_lock():
            trio.run(_live, repo, options, api or repo.settings().get("api", DEFAULT_API))
    return outcome.code


async def _live(repo: Repo, options: Options, api: str) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        config = repo.config(role=options.role, offline=options.offline or None)
        async with open_node(config) as node, trio.open_nursery() as nursery:
            address = await nursery.start(serve_rpc, node, api)
            repo.api_path.write_text(address)
            for peer in options.peers:
                await node.connect(peer)
            _greet(options, node, address)
            nursery.start_soon(_stop_on, signals, node)
            await node.wait_stop()
            nursery.cancel_scope.cancel()


async def _stop_on(signals: object, node: Node) -> None:
    async for _ in signals:  # type: ignore[attr-defined]
        node.request_stop()


def _greet(options: Options, node: Node, address: str) -> None:
    if options.json:
        say(json.dumps({"ID": str(node.peer_id), "Addresses": node.addresses(), "API": address}))
    else:
        say(f"peer id: {node.peer_id}")
        for item in node.addresses():
            say(f"listening on {item}")
        say(f"API on http://{address}/api/v0")
        say("ready")
    sys.stdout.flush()
