"""The commands and their options. What a command does is loaded when it is used: help costs nothing else.

Exit codes: 0 done, 1 failed (one line on standard error), 2 wrong usage.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from ipfs_kit_py.cli.options import Options, Request

app = typer.Typer(
    name="ipfs-kit",
    help="An IPFS node in one command: add, fetch and share content-addressed data straight from peers.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _group(name: str, text: str) -> typer.Typer:
    group = typer.Typer(name=name, help=text, no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(group)
    return group


block = _group("block", "Single blocks by CID.")
dag = _group("dag", "IPLD values and whole DAGs.")
pin = _group("pin", "Keep content safe from garbage collection.")
swarm = _group("swarm", "Connections to peers.")
repo = _group("repo", "The store of this node.")
key = _group("key", "Keys that names are published with.")
name = _group("name", "Names: paths that can change, signed by a key.")
cache = _group("cache", "Tiers: memory, disk and remote ones; what is warm, and where copies are.")

Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Add directories with all below them.")]


@app.callback()
def _globals(
    context: typer.Context,
    repo_path: Annotated[
        Path | None, typer.Option("--repo", help="Folder of the node [default: $IPFS_KIT_PATH or ~/.ipfs-kit].")
    ] = None,
    peer: Annotated[
        list[str] | None, typer.Option("--peer", help="Multiaddr with /p2p/ID to dial first; repeatable.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Use the local store alone.")] = False,
    timeout: Annotated[float | None, typer.Option("--timeout", min=0, help="Give up after so many seconds.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
    role: Annotated[str | None, typer.Option("--role", help="master, worker or leecher.")] = None,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log to standard error.")] = False,
) -> None:
    context.obj = Options(repo_path, tuple(peer or ()), offline, timeout, as_json, role, verbose)


def _load(module: str) -> Any:
    return import_module(f"ipfs_kit_py.cli.{module}")


def _perform(context: typer.Context, request: Request, **more: Any) -> None:
    raise typer.Exit(_load("perform").perform(context.obj, request, **more))


def _flags(**options: object) -> dict[str, str]:
    """RPC options from Python values: ``None`` is left out, ``_`` becomes ``-``."""
    found = {}
    for name, value in options.items():
        if value is not None:
            found[name.replace("_", "-")] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


@app.command()
def init(context: typer.Context) -> None:
    """Make the repo: identity, configuration, store."""
    raise typer.Exit(_load("local").init(context.obj))


@app.command()
def daemon(
    context: typer.Context,
    api: Annotated[str | None, typer.Option("--api", help="HOST:PORT of the RPC, on loopback.")] = None,
) -> None:
    """Run the node until it is stopped; other commands on this repo use it."""
    raise typer.Exit(_load("daemon").run(context.obj, api))


@app.command("id")
def identity(context: typer.Context) -> None:
    """Show this node's peer id, addresses and protocols."""
    _perform(context, Request("id"))


@app.command()
def add(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(help="Files or directories; - is standard input.")],
    recursive: Recursive = False,
    profile: Annotated[
        str | None, typer.Option("--profile", help="unixfs-v1-2025 (default) or unixfs-v0-2015.")
    ] = None,
    only_hash: Annotated[bool, typer.Option("--only-hash", "-n", help="Compute the CID, store nothing.")] = False,
    quieter: Annotated[bool, typer.Option("--quieter", "-Q", help="Print the last root CID alone.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print CIDs alone.")] = False,
    wrap: Annotated[bool, typer.Option("--wrap-with-directory", "-w", help="Wrap in a directory.")] = False,
    hidden: Annotated[bool, typer.Option("--hidden", "-H", help="Take names that begin with a dot too.")] = False,
    keep: Annotated[bool, typer.Option("--pin/--no-pin", help="Pin what is added.")] = True,
    cid_version: Annotated[int | None, typer.Option("--cid-version", min=0, max=1)] = None,
    raw_leaves: Annotated[bool | None, typer.Option("--raw-leaves/--no-raw-leaves")] = None,
    chunker: Annotated[str | None, typer.Option("--chunker", "-s", help="size-BYTES.")] = None,
    hash_name: Annotated[str | None, typer.Option("--hash", help="Hash function, default sha2-256.")] = None,
    name: Annotated[str, typer.Option("--stdin-name", help="Name for standard input.")] = "",
) -> None:
    """Add files or directories and print their CIDs."""
    options = _flags(
        profile=profile, only_hash=only_hash, wrap_with_directory=wrap, pin=keep, cid_version=cid_version,
        raw_leaves=raw_leaves, chunker=chunker, hash=hash_name,
    )  # fmt: skip
    request = Request("add", (), options, tuple(paths), recursive, hidden, name)
    _perform(context, request, quiet=quiet, quieter=quieter)


@app.command()
def cat(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(help="CIDs or paths such as CID/name.")],
    offset: Annotated[int | None, typer.Option("--offset", "-o", min=0, help="Skip so many bytes.")] = None,
    length: Annotated[int | None, typer.Option("--length", "-l", min=0, help="At most so many bytes.")] = None,
) -> None:
    """Print a file's content."""
    _perform(context, Request("cat", tuple(paths), _flags(offset=offset, length=length)))


@app.command()
def get(
    context: typer.Context,
    path: Annotated[str, typer.Argument(help="CID or path.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write it.")] = None,
) -> None:
    """Write a file or a whole directory to disk."""
    _perform(context, Request("get", (path,)), output=output)


@app.command()
def ls(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(help="CIDs or paths.")],
) -> None:
    """List a directory."""
    _perform(context, Request("ls", tuple(paths), {"stream": "true"}))


@block.command("get")
def block_get(context: typer.Context, cid: str) -> None:
    """Print a block's bytes."""
    _perform(context, Request("block/get", (cid,)))


@block.command("put")
def block_put(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(help="Files, one block each; - is standard input.")],
    codec: Annotated[str, typer.Option("--cid-codec")] = "raw",
    mhtype: Annotated[str, typer.Option("--mhtype")] = "sha2-256",
    keep: Annotated[bool, typer.Option("--pin")] = False,
) -> None:
    """Store files as single blocks and print their CIDs."""
    _perform(context, Request("block/put", (), _flags(cid_codec=codec, mhtype=mhtype, pin=keep), tuple(paths)))


@block.command("stat")
def block_stat(context: typer.Context, cid: str) -> None:
    """Show a block's size."""
    _perform(context, Request("block/stat", (cid,)))


@block.command("rm")
def block_rm(
    context: typer.Context,
    cids: list[str],
    force: Annotated[bool, typer.Option("--force", "-f", help="Ignore blocks that are not there.")] = False,
) -> None:
    """Remove blocks from the store; pinned ones stay."""
    _perform(context, Request("block/rm", tuple(cids), _flags(force=force)))


@dag.command("get")
def dag_get(
    context: typer.Context,
    path: str,
    codec: Annotated[str, typer.Option("--output-codec")] = "dag-json",
) -> None:
    """Print a value, as DAG-JSON or in another codec."""
    _perform(context, Request("dag/get", (path,), _flags(output_codec=codec)))


@dag.command("put")
def dag_put(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(help="Files, one value each; - is standard input.")],
    store_codec: Annotated[str, typer.Option("--store-codec")] = "dag-cbor",
    input_codec: Annotated[str, typer.Option("--input-codec")] = "dag-json",
    hash_name: Annotated[str, typer.Option("--hash")] = "sha2-256",
    keep: Annotated[bool, typer.Option("--pin")] = False,
) -> None:
    """Store values and print their CIDs."""
    options = _flags(store_codec=store_codec, input_codec=input_codec, hash=hash_name, pin=keep)
    _perform(context, Request("dag/put", (), options, tuple(paths)))


@dag.command("import")
def dag_import(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(help="CAR files; - is standard input.")],
    roots: Annotated[bool, typer.Option("--pin-roots/--no-pin-roots")] = True,
    stats: Annotated[bool, typer.Option("--stats")] = False,
) -> None:
    """Import CAR files, version 1 or 2, and pin their roots."""
    _perform(context, Request("dag/import", (), _flags(pin_roots=roots, stats=stats), tuple(paths)))


@dag.command("export")
def dag_export(context: typer.Context, path: str) -> None:
    """Write a DAG to standard output as a CAR (version 1)."""
    _perform(context, Request("dag/export", (path,)))


@dag.command("stat")
def dag_stat(context: typer.Context, paths: list[str]) -> None:
    """Count the blocks and bytes of a DAG."""
    _perform(context, Request("dag/stat", tuple(paths)))


@pin.command("add")
def pin_add(
    context: typer.Context,
    paths: list[str],
    recursive: Annotated[bool, typer.Option("--recursive/--direct", help="The whole DAG, or one block.")] = True,
    name: Annotated[str, typer.Option("--name", "-n")] = "",
) -> None:
    """Fetch what is missing and keep it."""
    _perform(context, Request("pin/add", tuple(paths), _flags(recursive=recursive, name=name or None)))


@pin.command("rm")
def pin_rm(context: typer.Context, paths: list[str]) -> None:
    """Stop keeping; the next `repo gc` may remove it."""
    _perform(context, Request("pin/rm", tuple(paths)))


@pin.command("ls")
def pin_ls(
    context: typer.Context,
    cids: Annotated[list[str] | None, typer.Argument()] = None,
    kind: Annotated[str, typer.Option("--type", "-t", help="recursive, direct, indirect or all.")] = "all",
) -> None:
    """List pins."""
    _perform(context, Request("pin/ls", tuple(cids or ()), _flags(type=kind)))


@swarm.command("connect")
def swarm_connect(context: typer.Context, addresses: list[str]) -> None:
    """Connect to peers by multiaddr with /p2p/ID."""
    _perform(context, Request("swarm/connect", tuple(addresses)))


@swarm.command("disconnect")
def swarm_disconnect(context: typer.Context, peers: list[str]) -> None:
    """Close the connections to peers."""
    _perform(context, Request("swarm/disconnect", tuple(peers)))


@swarm.command("peers")
def swarm_peers(context: typer.Context) -> None:
    """List connected peers."""
    _perform(context, Request("swarm/peers"))


@swarm.command("addrs")
def swarm_addrs(context: typer.Context) -> None:
    """List the known addresses of peers."""
    _perform(context, Request("swarm/addrs"))


@repo.command("gc")
def repo_gc(context: typer.Context) -> None:
    """Remove blocks that no pin keeps."""
    _perform(context, Request("repo/gc"))


@repo.command("stat")
def repo_stat(context: typer.Context) -> None:
    """Show the size of the store."""
    _perform(context, Request("repo/stat"))


@repo.command("verify")
def repo_verify(context: typer.Context) -> None:
    """Hash every block again and name the damaged ones."""
    _perform(context, Request("repo/verify"))


@cache.command("stat")
def cache_stat(context: typer.Context) -> None:
    """Show each tier: hits, misses, bytes, latency, state."""
    _perform(context, Request("cache/stat"))


@cache.command("heat")
def cache_heat(
    context: typer.Context,
    cids: Annotated[list[str] | None, typer.Argument(help="Without any the warmest are listed.")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many to list.")] = 20,
) -> None:
    """Show how warm blocks are."""
    _perform(context, Request("cache/heat", tuple(cids or ()), _flags(count=count)))


@cache.command("promote")
def cache_promote(
    context: typer.Context,
    paths: list[str],
    to: Annotated[str, typer.Option("--to", help="memory or disk.")] = "memory",
) -> None:
    """Bring content up to the disk or to memory."""
    _perform(context, Request("cache/promote", tuple(paths), _flags(to=to)))


@cache.command("demote")
def cache_demote(
    context: typer.Context,
    paths: list[str],
    to: Annotated[str | None, typer.Option("--to", help="disk, or the name of a remote tier.")] = None,
) -> None:
    """Move content down: out of memory, or to a remote tier and then out of this store."""
    _perform(context, Request("cache/demote", tuple(paths), _flags(to=to)))


@cache.command("replicate")
def cache_replicate(
    context: typer.Context,
    paths: list[str],
    to: Annotated[str | None, typer.Option("--to", help="The name of a remote tier.")] = None,
) -> None:
    """Copy content to a remote tier."""
    _perform(context, Request("cache/replicate", tuple(paths), _flags(to=to)))


@cache.command("replicas")
def cache_replicas(
    context: typer.Context,
    paths: list[str],
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask the tiers now.")] = False,
) -> None:
    """Show the copies of content at remote tiers."""
    _perform(context, Request("cache/replicas", tuple(paths), _flags(refresh=refresh)))


@cache.command("verify")
def cache_verify(context: typer.Context) -> None:
    """Hash every block again; damaged ones are fetched anew where somebody has them."""
    _perform(context, Request("cache/verify"))


@cache.command("gc")
def cache_gc(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Evict all that is neither pinned nor added here.")] = False,
) -> None:
    """Evict the coldest cached blocks down to the low water mark."""
    _perform(context, Request("cache/gc", (), _flags(all=everything)))


@app.command()
def stats(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", help="Print again every second until stopped.")] = False,
) -> None:
    """Show counters of the store, the network and the exchange."""
    _perform(context, Request("stats"), watch=watch)


@app.command()
def bench(
    context: typer.Context,
    size: Annotated[int, typer.Option("--size", min=1, help="MiB to move.")] = 256,
) -> None:
    """Move data between two nodes on this machine and print MB/s."""
    raise typer.Exit(_load("bench").run(context.obj, size))


@app.command()
def config(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Setting to show or change; without it all are shown.")] = None,
    value: Annotated[str | None, typer.Argument(help="New value: JSON, or plain text.")] = None,
    unset: Annotated[bool, typer.Option("--unset", help="Go back to the default.")] = False,
) -> None:
    """Show or change the configuration."""
    raise typer.Exit(_load("local").config(context.obj, name, value, unset))


@app.command()
def version(context: typer.Context) -> None:
    """Print the version."""
    raise typer.Exit(_load("local").version(context.obj))


def main() -> None:
    """Entry point of ``ipfs-kit``."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)


@key.command("gen")
def key_gen(
    context: typer.Context,
    called: Annotated[str, typer.Argument(metavar="NAME")],
    kind: Annotated[str, typer.Option("--type", "-t", help="ed25519 or rsa.")] = "ed25519",
    size: Annotated[int | None, typer.Option("--size", "-s", help="Bits of an rsa key.")] = None,
) -> None:
    """Make a key."""
    _perform(context, Request("key/gen", (called,), _flags(type=kind, size=size)))


@key.command("list")
def key_list(context: typer.Context) -> None:
    """List the keys and their names."""
    _perform(context, Request("key/list"))


@key.command("rm")
def key_rm(context: typer.Context, called: Annotated[list[str], typer.Argument(metavar="NAME...")]) -> None:
    """Forget keys for ever."""
    _perform(context, Request("key/rm", tuple(called)))


@key.command("rename")
def key_rename(
    context: typer.Context,
    old: str,
    new: str,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a key that has the name.")] = False,
) -> None:
    """Give a key another name."""
    _perform(context, Request("key/rename", (old, new), _flags(force=force)))


@name.command("publish")
def name_publish(
    context: typer.Context,
    path: str,
    chosen: Annotated[str, typer.Option("--key", "-k", help="Name of the key.")] = "self",
    lifetime: Annotated[str | None, typer.Option("--lifetime", "-t", help="Such as 48h.")] = None,
    ttl: Annotated[str | None, typer.Option("--ttl", help="Such as 5m.")] = None,
) -> None:
    """Point a key's name to a path."""
    _perform(context, Request("name/publish", (path,), _flags(key=chosen, lifetime=lifetime, ttl=ttl)))


@name.command("resolve")
def name_resolve(
    context: typer.Context,
    called: Annotated[str | None, typer.Argument(metavar="NAME")] = None,
    nocache: Annotated[bool, typer.Option("--nocache", "-n", help="Ask the network in any case.")] = False,
) -> None:
    """Show the path that a name leads to."""
    _perform(context, Request("name/resolve", (called,) if called else (), _flags(nocache=nocache)))
