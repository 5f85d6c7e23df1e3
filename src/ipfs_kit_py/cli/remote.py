"""A verb on the daemon of the repo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipfs_kit_py.verbs.on_daemon import OnDaemon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from typing_extensions import Buffer

    from ipfs_kit_py.cli.options import Options, Request
    from ipfs_kit_py.cli.render import Rendering
    from ipfs_kit_py.content.files import Entry


async def perform(
    address: str,
    options: Options,
    request: Request,
    uploads: Callable[[], AsyncIterator[Entry]] | None,
    rendering: Rendering,
) -> None:
    """Send the verb to the daemon at ``HOST:PORT`` and render its answer."""
    daemon = OnDaemon(address)
    for peer in options.peers:
        await daemon.perform("swarm/connect", [peer], {}, _Nowhere())
    if request.verb == "get":
        await daemon.get(request.arguments[0], rendering.destination(), progress=rendering.read)
        return
    sent = uploads() if uploads else None
    await daemon.perform(request.verb, request.arguments, request.options, rendering, sent)


class _Nowhere:
    """An answer that nobody needs."""

    async def row(self, row: dict[str, Any]) -> None:
        pass

    async def data(self, data: Buffer) -> None:
        pass
