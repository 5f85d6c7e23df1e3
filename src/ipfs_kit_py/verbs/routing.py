"""The verbs on routing, in Kubo's shapes: a line for each provider, peer or value."""

from __future__ import annotations

import base64
from contextlib import aclosing
from typing import TYPE_CHECKING

from ipfs_kit_py.core import kubo_shapes as shapes
from ipfs_kit_py.core.cid import CID, PeerID
from ipfs_kit_py.core.config import KAD_RECORD_BYTES
from ipfs_kit_py.verbs.call import UsageError, whole
from ipfs_kit_py.verbs.verb import ROWS, Verb

if TYPE_CHECKING:
    from ipfs_kit_py.verbs.call import Call


def _cid(text: str) -> CID:
    return CID.parse(text.removeprefix("/ipfs/"))


async def _findprovs(call: Call) -> None:
    count = call.number("num-providers", 20)
    if not count:
        raise UsageError("the number of providers is 1 or more")
    for cid in [_cid(text) for text in call.several("CID")]:
        async with aclosing(call.node.find_providers(cid, count)) as found:
            async for provider in found:
                row = shapes.routing_event(shapes.PROVIDER, [(provider.peer, provider.addresses)])
                await call.row(row)


async def _provide(call: Call) -> None:
    cids = [_cid(text) for text in call.several("CID")]
    await call.node.provide(cids, recursive=call.flag("recursive"))


async def _findpeer(call: Call) -> None:
    for peer in [PeerID.parse(text) for text in call.several("peer")]:
        found = await call.node.find_peer(peer)
        await call.row(shapes.routing_event(shapes.FINAL_PEER, [(found.peer, found.addresses)]))


async def _get(call: Call) -> None:
    for key in call.several("key"):
        value = await call.node.get_value(key)
        await call.row(shapes.routing_event(shapes.VALUE, extra=base64.b64encode(value).decode()))


async def _put(call: Call) -> None:
    key, done = call.argument("key"), False
    async for entry in call.uploads():
        if done:
            raise UsageError("expected one file with one value")
        await call.node.put_value(key, await whole(entry, KAD_RECORD_BYTES))
        done = True
        await call.row(shapes.routing_event(shapes.VALUE))


ROUTING_VERBS: dict[str, Verb] = {
    "routing/findprovs": Verb(_findprovs, ROWS),
    "routing/provide": Verb(_provide, ROWS),
    "routing/findpeer": Verb(_findpeer, ROWS),
    "routing/get": Verb(_get, ROWS),
    "routing/put": Verb(_put, ROWS, uploads=True),
}
