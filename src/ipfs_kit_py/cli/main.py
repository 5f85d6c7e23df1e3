"""The entry point of ``ipfs-kit``, and the commands that are in no group; the groups are beside it.

Exit codes: 0 done, 1 failed (one line on standard error), 2 wrong usage.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ipfs_kit_py.cli.dag_commands import block, dag
from ipfs_kit_py.cli.files_commands import files
from ipfs_kit_py.cli.loading import load
from ipfs_kit_py.cli.name_commands import key, name
from ipfs_kit_py.cli.network_commands import routing, swarm
from ipfs_kit_py.cli.options import Options, Request
from ipfs_kit_py.cli.parser import flags, perform
from ipfs_kit_py.cli.store_commands import cache, pin, repo

app = typer.Typer(
    name="ipfs-kit",
    help="An IPFS node in one command: add, fetch and share content-addressed data straight from peers.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _group in (block, dag, files, pin, swarm, routing, repo, key, name, cache):
    app.add_typer(_group)

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


@app.command()
def init(context: typer.Context) -> None:
    """Make the repo: identity, configuration, store."""
    raise typer.Exit(load("local").init(context.obj))


@app.command()
def daemon(
    context: typer.Context,
    api: Annotated[str | None, typer.Option("--api", help="HOST:PORT of the RPC, on loopback.")] = None,
) -> None:
    """Run the node until it is stopped; other commands on this repo use it."""
    raise typer.Exit(load("daemon").run(context.obj, api))


@app.command("id")
def identity(context: typer.Context) -> None:
    """Show this node's peer id, addresses and protocols."""
    perform(context, Request("id"))


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
    options = flags(
        profile=profile, only_hash=only_hash, wrap_with_directory=wrap, pin=keep, cid_version=cid_version,
        raw_leaves=raw_leaves, chunker=chunker, hash=hash_name,
    )  # fmt: skip
    request = Request("add", (), options, tuple(paths), recursive, hidden, name)
    perform(context, request, quiet=quiet, quieter=quieter)


@app.command()
def cat(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(help="CIDs or paths such as CID/name.")],
    offset: Annotated[int | None, typer.Option("--offset", "-o", min=0, help="Skip so many bytes.")] = None,
    length: Annotated[int | None, typer.Option("--length", "-l", min=0, help="At most so many bytes.")] = None,
) -> None:
    """Print a file's content."""
    perform(context, Request("cat", tuple(paths), flags(offset=offset, length=length)))


@app.command()
def get(
    context: typer.Context,
    path: Annotated[str, typer.Argument(help="CID or path.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write it.")] = None,
) -> None:
    """Write a file or a whole directory to disk."""
    perform(context, Request("get", (path,)), output=output)


@app.command()
def ls(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(help="CIDs or paths.")],
) -> None:
    """List a directory."""
    perform(context, Request("ls", tuple(paths), {"stream": "true"}))


@app.command()
def stats(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", help="Print again every second until stopped.")] = False,
) -> None:
    """Show counters of the store, the network and the exchange."""
    perform(context, Request("stats"), watch=watch)


@app.command()
def doctor(context: typer.Context) -> None:
    """Look at ports, clock, disk, addresses, peers and gateways, and say what to do."""
    raise typer.Exit(load("doctor").run(context.obj))


@app.command()
def bench(
    context: typer.Context,
    size: Annotated[int, typer.Option("--size", min=1, help="MiB to move.")] = 256,
) -> None:
    """Move data between two nodes on this machine and print MB/s."""
    raise typer.Exit(load("bench").run(context.obj, size))


@app.command()
def config(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Setting to show or change; without it all are shown.")] = None,
    value: Annotated[str | None, typer.Argument(help="New value: JSON, or plain text.")] = None,
    unset: Annotated[bool, typer.Option("--unset", help="Go back to the default.")] = False,
) -> None:
    """Show or change the configuration."""
    raise typer.Exit(load("local").config(context.obj, name, value, unset))


@app.command()
def version(context: typer.Context) -> None:
    """Print the version."""
    raise typer.Exit(load("local").version(context.obj))


def main() -> None:
    """Entry point of ``ipfs-kit``."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
