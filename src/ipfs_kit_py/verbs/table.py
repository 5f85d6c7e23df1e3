"""The verbs: each takes a call, asks the node and answers in Kubo's shapes.

One table, used by the daemon and by the command line.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING

from ipfs_kit_py import __version__
from ipfs_kit_py.core import kubo_shapes as shapes
from ipfs_kit_py.core.cid import CID, PeerID
from ipfs_kit_py.core.errors import IPFSKitError, NotFound
from ipfs_kit_py.dag import codecs
from ipfs_kit_py.verbs.call import UsageError, whole
from ipfs_kit_py.verbs.files import FILES_VERBS
from ipfs_kit_py.verbs.names import NAME_VERBS
from ipfs_kit_py.verbs.routing import ROUTING_VERBS
from ipfs_kit_py.verbs.tiers import TIER_VERBS
from ipfs_kit_py.verbs.verb import BYTES, JSON, ROWS, Verb

if TYPE_CHECKING:
    from ipfs_kit_py.verbs.call import Call


async def _add(call: Call) -> None:
    names = ("profile", "cid-version", "raw-leaves", "chunker", "hash")
    rows = call.node.add_entries(
        call.uploads(),
        {name: call.text(name) for name in names},
        only_hash=call.flag("only-hash"),
        wrap=call.flag("wrap-with-directory"),
        pin=call.flag("pin", True),
    )
    async with aclosing(rows):
        async for row in rows:
            if row.cid is not None:
                await call.row(shapes.added(row.name, row.cid, row.size))


async def _cat(call: Call) -> None:
    offset, length = call.number("offset", 0) or 0, call.number("length")
    for path in call.several("path"):
        async with aclosing(call.node.cat(path, offset=offset, length=length)) as chunks:
            async for chunk in chunks:
                await call.data(chunk)


async def _get(call: Call) -> None:
    async with aclosing(call.node.tar(call.argument("path"))) as pieces:
        async for piece in pieces:
            await call.data(piece)


async def _ls(call: Call) -> None:
    """A row for the whole directory, with ``stream`` one for each entry, or for as many as ``page`` says."""
    page = (call.number("page") or 1) if call.flag("stream") else None
    for path in call.several("path"):
        links = []
        async with aclosing(call.node.ls(path)) as entries:
            async for entry in entries:
                links.append(shapes.link(entry.name, entry.cid, entry.size or 0, entry.type))
                if len(links) == page:
                    await call.row(shapes.listing(path, links))
                    links = []
        if links or page is None:
            await call.row(shapes.listing(path, links))


async def _block_get(call: Call) -> None:
    await call.data(await call.node.block_get(CID.parse(call.argument("CID"))))


async def _block_put(call: Call) -> None:
    async for entry in call.uploads():
        data = await whole(entry)
        cid = await call.node.block_put(
            data,
            codec=call.text("cid-codec", "raw"),
            mhtype=call.text("mhtype", "sha2-256"),
            version=call.number("cid-version", 1) or 0,
            pin=call.flag("pin"),
        )
        await call.row(shapes.block_stat(cid, len(data)))


async def _block_stat(call: Call) -> None:
    cid = CID.parse(call.argument("CID"))
    await call.row(shapes.block_stat(cid, await call.node.block_stat(cid)))


async def _block_rm(call: Call) -> None:
    for text in call.several("CID"):
        try:
            await call.node.block_rm(CID.parse(text), force=call.flag("force"))
        except IPFSKitError as error:
            await call.row(shapes.block_removed(text, str(error)))
        else:
            await call.row(shapes.block_removed(text))


async def _dag_get(call: Call) -> None:
    codec = call.text("output-codec", "dag-json")
    await call.data(codecs.encode(await call.node.dag_get(call.argument("path")), codecs.codec_number(codec)))


async def _dag_put(call: Call) -> None:
    async for entry in call.uploads():
        value = codecs.decode(codecs.codec_number(call.text("input-codec", "dag-json")), await whole(entry))
        cid = await call.node.dag_put(
            value, codec=call.text("store-codec", "dag-cbor"), mhtype=call.text("hash", "sha2-256"),
            pin=call.flag("pin"),
        )  # fmt: skip
        await call.row(shapes.cid_link(cid))


async def _dag_export(call: Call) -> None:
    await call.node.dag_export(call.argument("path"), call.data)


async def _dag_import(call: Call) -> None:
    async for entry in call.uploads():
        if entry.chunks is None:
            raise UsageError("expected a CAR file")
        result = await call.node.dag_import(entry.chunks(), pin_roots=call.flag("pin-roots", True))
        for root, problem in result.roots:
            if call.flag("pin-roots", True):
                await call.row(shapes.dag_import_root(root, problem))
        if call.flag("stats"):
            await call.row(shapes.dag_import_stats(result.blocks, result.size))


async def _dag_stat(call: Call) -> None:
    for path in call.several("path"):
        found = await call.node.dag_stat(path)
        await call.row(shapes.dag_stat(found.root, found.size, found.blocks))


async def _pin_add(call: Call) -> None:
    recursive, name = call.flag("recursive", True), call.text("name")
    done = [await call.node.pin_add(path, recursive=recursive, name=name) for path in call.several("path")]
    await call.row(shapes.pins(done))


async def _pin_rm(call: Call) -> None:
    done = [await call.node.pin_rm(path) for path in call.several("path")]
    await call.row(shapes.pins(done))


async def _pin_ls(call: Call) -> None:
    wanted = {CID.parse(text).multihash for text in call.arguments}
    rows = [
        row for row in await call.node.pin_ls(kind=call.text("type", "all")) if not wanted or row[0].multihash in wanted
    ]
    if wanted and not rows:
        raise NotFound(f"{call.arguments[0]} is not pinned; pin it with `pin add`")
    await call.row(shapes.pin_listing(rows))


async def _id(call: Call) -> None:
    node = call.node
    await call.row(
        shapes.identity(node.peer_id, node.public_key_text, node.addresses(), node.config.agent, node.protocols())
    )


async def _swarm_connect(call: Call) -> None:
    peers = [await call.node.connect(address) for address in call.several("address")]
    await call.row(shapes.strings(f"connect {peer} success" for peer in peers))


async def _swarm_disconnect(call: Call) -> None:
    lines = []
    for text in call.several("peer"):
        peer = PeerID.parse(text.rpartition("/p2p/")[2])
        if not await call.node.disconnect(peer):
            raise NotFound(f"not connected to {peer}")
        lines.append(f"disconnect {peer} success")
    await call.row(shapes.strings(lines))


async def _swarm_peers(call: Call) -> None:
    await call.row(shapes.swarm_peers(call.node.connections()))


async def _swarm_addrs(call: Call) -> None:
    await call.row({"Addrs": {str(peer): addresses for peer, addresses in call.node.known_addresses().items()}})


async def _repo_gc(call: Call) -> None:
    async with aclosing(call.node.repo_gc()) as removed:
        async for cid in removed:
            await call.row(shapes.key_removed(cid))


async def _repo_stat(call: Call) -> None:
    found = await call.node.repo_stat()
    await call.row(shapes.repo_stat(found.size, found.quota, found.blocks, found.path))


async def _repo_verify(call: Call) -> None:
    checked = bad = 0
    async with aclosing(call.node.repo_verify()) as results:
        async for result in results:
            checked += 1
            if result.error:
                bad += 1
                await call.row(shapes.verify_progress(f"block {result.cid} {result.error}", checked))
    if bad:
        raise NotFound(f"{bad} of {checked} blocks are damaged; they were named above: fetch or add them again")
    await call.row(shapes.verify_progress("verify complete, all blocks validated.", checked))


async def _stats(call: Call) -> None:
    await call.row(asdict(await call.node.statistics()))


async def _version(call: Call) -> None:
    await call.row(shapes.version(__version__, "python"))


async def _shutdown(call: Call) -> None:
    call.node.request_stop()


VERBS: dict[str, Verb] = (
    TIER_VERBS
    | FILES_VERBS
    | NAME_VERBS
    | ROUTING_VERBS
    | {
        "add": Verb(_add, ROWS, uploads=True),
        "cat": Verb(_cat, BYTES),
        "get": Verb(_get, BYTES),
        "ls": Verb(_ls, ROWS),
        "block/get": Verb(_block_get, BYTES),
        "block/put": Verb(_block_put, ROWS, uploads=True),
        "block/stat": Verb(_block_stat, JSON),
        "block/rm": Verb(_block_rm, ROWS),
        "dag/get": Verb(_dag_get, BYTES),
        "dag/put": Verb(_dag_put, ROWS, uploads=True),
        "dag/export": Verb(_dag_export, BYTES),
        "dag/import": Verb(_dag_import, ROWS, uploads=True),
        "dag/stat": Verb(_dag_stat, ROWS),
        "pin/add": Verb(_pin_add, JSON),
        "pin/rm": Verb(_pin_rm, JSON),
        "pin/ls": Verb(_pin_ls, JSON),
        "id": Verb(_id, JSON),
        "swarm/connect": Verb(_swarm_connect, JSON),
        "swarm/disconnect": Verb(_swarm_disconnect, JSON),
        "swarm/peers": Verb(_swarm_peers, JSON),
        "swarm/addrs": Verb(_swarm_addrs, JSON),
        "repo/gc": Verb(_repo_gc, ROWS),
        "repo/stat": Verb(_repo_stat, JSON),
        "repo/verify": Verb(_repo_verify, ROWS),
        "stats": Verb(_stats, JSON),
        "version": Verb(_version, JSON),
        "shutdown": Verb(_shutdown, JSON),
    }
)
