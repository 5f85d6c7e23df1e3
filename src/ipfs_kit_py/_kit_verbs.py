"""The kit's verbs: each is one verb of the node or daemon behind it, and answers as Kubo's RPC does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipfs_kit_py._backend import sent_bytes
from ipfs_kit_py.content.files import Entry, read_file, tree
from ipfs_kit_py.core import kubo_shapes as shapes
from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.errors import LocalError
from ipfs_kit_py.dag import dag_json

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ipfs_kit_py._backend import Backend

Row = dict[str, Any]


class KitVerbs:
    """Mixed into ``ipfs_kit``, which has the backend. Paths are ``CID``, ``CID/name``, ``/ipfs/…`` or ``/ipns/…``;
    ``timeout`` in seconds (``TimedOut``), without one what nobody has is waited for where there are peers."""

    _backend: Backend

    # --- adding -------------------------------------------------------------------------------------------------------

    def ipfs_add_string(self, text: str, *, pin: bool = True, **options: Any) -> Row:
        """Add a text as a file, in UTF-8: ``{"Name", "Hash", "Size"}``. ``options`` as those of ``ipfs_add``."""
        return self.ipfs_add_bytes(text.encode(), pin=pin, **options)

    def ipfs_add_bytes(self, data: Buffer, name: str = "", *, pin: bool = True, **options: Any) -> Row:
        """Add bytes as a file."""
        return self._backend.row("add", uploads=[sent_bytes(data, name)], pin=pin, **options)

    def ipfs_add(
        self, path: str | Path, *, recursive: bool = True, hidden: bool = False, pin: bool = True, **options: Any
    ) -> Row:
        """Add a local file, or a directory with all below it: the row of its root, ``{"Name", "Hash", "Size"}``.

        ``options``: ``profile``, ``wrap_with_directory``, ``only_hash``, ``cid_version``, ``raw_leaves``, ``chunker``,
        ``hash``. ``LocalError`` for what cannot be read.
        """
        entries = tree(Path(path).expanduser(), recursive=recursive, hidden=hidden)
        return self._backend.row("add", uploads=entries, pin=pin, **options)

    # --- reading ------------------------------------------------------------------------------------------------------

    def ipfs_cat(
        self, path: str, *, offset: int | None = None, length: int | None = None, timeout: float | None = None
    ) -> bytes:
        """A file's content, or ``length`` bytes of it from ``offset`` on."""
        return self._backend.data("cat", path, offset=offset, length=length, timeout=timeout)

    def ipfs_get(self, path: str, output: str | Path | None = None, *, timeout: float | None = None) -> Row:
        """Write a file or tree to ``output`` (below it where it is a directory), else to the path's last name here:
        ``{"Path"}``."""
        name = path.rstrip("/").rpartition("/")[2]
        dest = Path(name) if output is None else Path(output).expanduser()
        if output is not None and dest.is_dir():
            dest /= name
        if dest.name in ("", ".", ".."):
            raise LocalError(f"cannot tell what to call {path!r}; name a file or folder as output")
        self._backend.get(path, dest, timeout=timeout)
        return {"Path": str(dest)}

    def ipfs_ls(self, path: str, *, timeout: float | None = None) -> Row:
        """A directory: ``{"Objects": [{"Hash", "Links": [{"Name", "Hash", "Size", "Type", "Target"}]}]}``."""
        return self._backend.row("ls", path, timeout=timeout)

    # --- blocks and DAGs ----------------------------------------------------------------------------------------------

    def ipfs_block_get(self, cid: str, *, timeout: float | None = None) -> bytes:
        """A block's bytes."""
        return self._backend.data("block/get", cid, timeout=timeout)

    def ipfs_block_put(
        self, data: Buffer, *, cid_codec: str = "raw", mhtype: str = "sha2-256", pin: bool = False
    ) -> Row:
        """Store a block as it is: ``{"Key", "Size"}``."""
        return self._backend.row("block/put", uploads=[sent_bytes(data)], cid_codec=cid_codec, mhtype=mhtype, pin=pin)

    def ipfs_block_stat(self, cid: str, *, timeout: float | None = None) -> Row:
        """``{"Key", "Size"}`` of a block, which is fetched where it is not here."""
        return self._backend.row("block/stat", cid, timeout=timeout)

    def ipfs_dag_get(self, path: str, *, timeout: float | None = None) -> Any:
        """A value of the data model as DAG-JSON has it: links are ``{"/": CID}``."""
        return json.loads(self._backend.data("dag/get", path, timeout=timeout))

    def ipfs_dag_put(
        self, value: Any, *, store_codec: str = "dag-cbor", hash: str = "sha2-256", pin: bool = False
    ) -> Row:
        """Store a value, links as ``CID`` objects or ``{"/": CID}``: ``{"Cid": {"/": CID}}``."""
        sent = [sent_bytes(dag_json.encode(_linked(value)))]
        return self._backend.row("dag/put", uploads=sent, store_codec=store_codec, hash=hash, pin=pin)

    def ipfs_dag_import(self, car: str | Path | bytes, *, pin_roots: bool = True) -> Row:
        """Take the blocks of a CAR, a file's path or its bytes: ``{"Roots": [{"Cid", "PinErrorMsg"}], "Stats"}``."""
        if isinstance(car, bytes):
            entry = sent_bytes(car)
        else:
            path = Path(car).expanduser()
            entry = Entry(path.name, "file", chunks=lambda: read_file(path))
        rows = self._backend.rows("dag/import", uploads=[entry], pin_roots=pin_roots, stats=True)
        stats: Row = next((row["Stats"] for row in rows if "Stats" in row), {})
        return {"Roots": [row["Root"] for row in rows if "Root" in row], "Stats": stats}

    def ipfs_dag_export(
        self, path: str, output: str | Path | None = None, *, timeout: float | None = None
    ) -> bytes | Row:
        """A whole DAG as a CAR of version 1: its bytes, or written to a new file ``output``, ``{"Path", "Size"}``."""
        if output is None:
            return self._backend.data("dag/export", path, timeout=timeout)
        dest = Path(output).expanduser()
        size = 0
        with self._backend.stream("dag/export", path) as pieces, dest.open("xb") as file:
            for piece in pieces:
                size += file.write(piece)
        return {"Path": str(dest), "Size": size}

    # --- what is kept -------------------------------------------------------------------------------------------------

    def ipfs_pin_add(
        self, path: str, *, recursive: bool = True, name: str | None = None, timeout: float | None = None
    ) -> Row:
        """Fetch what is missing and keep it: ``{"Pins": [CID]}``."""
        return self._backend.row("pin/add", path, recursive=recursive, name=name, timeout=timeout)

    def ipfs_pin_rm(self, path: str) -> Row:
        """Stop keeping: ``{"Pins": [CID]}``. ``NotFound`` where it is not pinned."""
        return self._backend.row("pin/rm", path)

    def ipfs_pin_ls(self, *cids: str, type: str = "all") -> Row:
        """All pins, or those of ``cids``: ``{"Keys": {CID: {"Type"}}}``; ``type`` is recursive, direct, indirect or
        all."""
        return self._backend.row("pin/ls", *cids, type=type)

    def ipfs_repo_gc(self) -> Row:
        """Remove what no pin keeps: ``{"Keys": [{"/": CID}]}``."""
        return {"Keys": [row["Key"] for row in self._backend.rows("repo/gc")]}

    def ipfs_repo_stat(self) -> Row:
        """``{"RepoSize", "StorageMax", "NumObjects", "RepoPath", "Version"}``, sizes in bytes."""
        return self._backend.row("repo/stat")

    def ipfs_repo_verify(self) -> Row:
        """Hash all blocks again: ``{"Msg", "Progress"}``. ``NotFound`` where some are damaged."""
        return self._backend.row("repo/verify")

    # --- peers, routing, names ----------------------------------------------------------------------------------------

    def ipfs_id(self) -> Row:
        """``{"ID", "PublicKey", "Addresses", "AgentVersion", "Protocols"}`` of the node."""
        return self._backend.row("id")

    def ipfs_swarm_connect(self, address: str, *, timeout: float | None = 30.0) -> Row:
        """Connect to a multiaddr with ``/p2p/<id>``: ``{"Strings": ["connect <id> success"]}``."""
        return self._backend.row("swarm/connect", address, timeout=timeout)

    def ipfs_swarm_peers(self) -> Row:
        """The connected peers: ``{"Peers": [{"Addr", "Peer", "Latency"}]}``, ``None`` for no peers."""
        return self._backend.row("swarm/peers")

    def ipfs_dht_findprovs(self, cid: str, *, num_providers: int = 20, timeout: float | None = 60.0) -> Row:
        """Who has content: ``{"Type": 4, "Responses": [{"ID", "Addrs"}]}``."""
        rows = self._backend.rows("routing/findprovs", cid, num_providers=num_providers, timeout=timeout)
        found = [peer for row in rows for peer in row.get("Responses") or ()]
        return {"Type": 4, "Responses": found}

    def ipfs_dht_provide(self, cid: str, *, recursive: bool = False, timeout: float | None = 60.0) -> Row:
        """Tell the network that this content is here, with ``recursive`` all blocks of it: an event without peers."""
        self._backend.row("routing/provide", cid, recursive=recursive or None, timeout=timeout)
        return shapes.routing_event(shapes.PROVIDER)

    def ipfs_name_publish(
        self, path: str, *, key: str | None = None, lifetime: str | None = None, ttl: str | None = None,
        allow_offline: bool = False, timeout: float | None = 60.0,
    ) -> Row:  # fmt: skip
        """Have a name, the node's own or that of ``key``, lead to a path: ``{"Name", "Value"}``. ``lifetime`` and
        ``ttl`` as ``"24h"``. ``allow_offline``: it is enough that the record is kept here; it is published when
        somebody can be told."""
        return self._backend.row(
            "name/publish", path, key=key, lifetime=lifetime, ttl=ttl, allow_offline=allow_offline or None,
            timeout=timeout,
        )  # fmt: skip

    def ipfs_name_resolve(self, name: str | None = None, *, timeout: float | None = 60.0) -> Row:
        """Where a name leads, the node's own without one: ``{"Path"}``."""
        return self._backend.row("name/resolve", *(() if name is None else (name,)), timeout=timeout)

    def ipfs_key_gen(self, name: str, *, type: str = "ed25519") -> Row:
        """Make a key for a name: ``{"Name", "Id"}``."""
        return self._backend.row("key/gen", name, type=type)

    def ipfs_key_list(self) -> Row:
        """The keys: ``{"Keys": [{"Name", "Id"}]}``."""
        return self._backend.row("key/list")


def _linked(value: Any) -> Any:
    """``value`` with links and bytes that are written as DAG-JSON has them as what they are."""
    match value:
        case {"/": str(text), **rest} if not rest:
            return CID.parse(text)
        case {"/": {"bytes": str(text), **rest}, **more} if not rest and not more:
            return dag_json.decode(json.dumps(value).encode())
        case dict():
            return {key: _linked(item) for key, item in value.items()}
        case list() | tuple():
            return [_linked(item) for item in value]
    return value
