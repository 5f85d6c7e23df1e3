"""A verb on a node that lives for the command's length."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from ipfs_kit_py.core.closing import finishing
from ipfs_kit_py.node import open_node
from ipfs_kit_py.verbs.on_node import OnNode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ipfs_kit_py.cli.options import Options, Request
    from ipfs_kit_py.cli.render import Rendering
    from ipfs_kit_py.content.files import Entry
    from ipfs_kit_py.repo import Repo

JOIN_SECONDS = 5.0  # that one command waits for a peer of the DHT before it asks


def needs_routing(request: Request) -> bool:
    """Whether it asks others by a key of the DHT: the first thing that a node of a command's length does then."""
    names = any(text.startswith(("/ipns/", "ipns://")) for text in request.arguments)
    return names or request.verb.startswith(("routing/", "name/"))


async def perform(
    repo: Repo,
    options: Options,
    request: Request,
    uploads: Callable[[], AsyncIterator[Entry]] | None,
    rendering: Rendering,
) -> None:
    """Open a node on the repo, dial the peers that were named, perform the verb. It listens nowhere."""
    repo.ensure()
    alone = options.offline or (request.verb.startswith("key/") and not options.peers)  # keys are the repo's business
    config = repo.config(role=options.role, listen=(), offline=alone or None)
    async with open_node(config, short=True) as node:
        for address in options.peers:
            await node.connect(address)
        if needs_routing(request) and (options.peers or config.peers or config.bootstrap):
            await node.wait_joined(JOIN_SECONDS)
        here = OnNode(node)
        if request.verb == "get":
            await here.get(request.arguments[0], rendering.destination(), progress=rendering.read)
            return
        async with finishing(uploads()) if uploads else nullcontext() as sent:
            await here.perform(request.verb, request.arguments, request.options, rendering, sent)
