"""The groups `pin`, `repo` and `cache`."""

from __future__ import annotations

from typing import Annotated

import typer

from ipfs_kit_py.cli.options import Request
from ipfs_kit_py.cli.parser import flags, group, perform

pin = group("pin", "Keep content safe from garbage collection.")
repo = group("repo", "The store of this node.")
cache = group("cache", "Tiers: memory, disk and remote ones; what is warm, and where copies are.")


@pin.command("add")
def pin_add(
    context: typer.Context,
    paths: list[str],
    recursive: Annotated[bool, typer.Option("--recursive/--direct", help="The whole DAG, or one block.")] = True,
    name: Annotated[str, typer.Option("--name", "-n")] = "",
) -> None:
    """Fetch what is missing and keep it."""
    perform(context, Request("pin/add", tuple(paths), flags(recursive=recursive, name=name or None)))


@pin.command("rm")
def pin_rm(context: typer.Context, paths: list[str]) -> None:
    """Stop keeping; the next `repo gc` may remove it."""
    perform(context, Request("pin/rm", tuple(paths)))


@pin.command("ls")
def pin_ls(
    context: typer.Context,
    cids: Annotated[list[str] | None, typer.Argument()] = None,
    kind: Annotated[str, typer.Option("--type", "-t", help="recursive, direct, indirect or all.")] = "all",
) -> None:
    """List pins."""
    perform(context, Request("pin/ls", tuple(cids or ()), flags(type=kind)))


@repo.command("gc")
def repo_gc(context: typer.Context) -> None:
    """Remove blocks that no pin keeps."""
    perform(context, Request("repo/gc"))


@repo.command("stat")
def repo_stat(context: typer.Context) -> None:
    """Show the size of the store."""
    perform(context, Request("repo/stat"))


@repo.command("verify")
def repo_verify(context: typer.Context) -> None:
    """Hash every block again and name the damaged ones."""
    perform(context, Request("repo/verify"))


@cache.command("stat")
def cache_stat(context: typer.Context) -> None:
    """Show each tier: hits, misses, bytes, latency, state."""
    perform(context, Request("cache/stat"))


@cache.command("heat")
def cache_heat(
    context: typer.Context,
    cids: Annotated[list[str] | None, typer.Argument(help="Without any the warmest are listed.")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many to list.")] = 20,
) -> None:
    """Show how warm blocks are."""
    perform(context, Request("cache/heat", tuple(cids or ()), flags(count=count)))


@cache.command("promote")
def cache_promote(
    context: typer.Context,
    paths: list[str],
    to: Annotated[str, typer.Option("--to", help="memory or disk.")] = "memory",
) -> None:
    """Bring content up to the disk or to memory."""
    perform(context, Request("cache/promote", tuple(paths), flags(to=to)))


@cache.command("demote")
def cache_demote(
    context: typer.Context,
    paths: list[str],
    to: Annotated[str | None, typer.Option("--to", help="disk, or the name of a remote tier.")] = None,
) -> None:
    """Move content down: out of memory, or to a remote tier and then out of this store."""
    perform(context, Request("cache/demote", tuple(paths), flags(to=to)))


@cache.command("replicate")
def cache_replicate(
    context: typer.Context,
    paths: list[str],
    to: Annotated[str | None, typer.Option("--to", help="The name of a remote tier.")] = None,
) -> None:
    """Copy content to a remote tier."""
    perform(context, Request("cache/replicate", tuple(paths), flags(to=to)))


@cache.command("replicas")
def cache_replicas(
    context: typer.Context,
    paths: list[str],
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask the tiers now.")] = False,
) -> None:
    """Show the copies of content at remote tiers."""
    perform(context, Request("cache/replicas", tuple(paths), flags(refresh=refresh)))


@cache.command("verify")
def cache_verify(context: typer.Context) -> None:
    """Hash every block again; damaged ones are fetched anew where somebody has them."""
    perform(context, Request("cache/verify"))


@cache.command("gc")
def cache_gc(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Evict all that is neither pinned nor added here.")] = False,
) -> None:
    """Evict the coldest cached blocks down to the low water mark."""
    perform(context, Request("cache/gc", (), flags(all=everything)))
