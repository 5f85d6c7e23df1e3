"""The groups `block` and `dag`."""

from __future__ import annotations

from typing import Annotated

import typer

from ipfs_kit_py.cli.options import Request
from ipfs_kit_py.cli.parser import flags, group, perform

block = group("block", "Single blocks by CID.")
dag = group("dag", "IPLD values and whole DAGs.")


@block.command("get")
def block_get(context: typer.Context, cid: str) -> None:
    """Print a block's bytes."""
    perform(context, Request("block/get", (cid,)))


@block.command("put")
def block_put(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(help="Files, one block each; - is standard input.")],
    codec: Annotated[str, typer.Option("--cid-codec")] = "raw",
    mhtype: Annotated[str, typer.Option("--mhtype")] = "sha2-256",
    keep: Annotated[bool, typer.Option("--pin")] = False,
) -> None:
    """Store files as single blocks and print their CIDs."""
    perform(context, Request("block/put", (), flags(cid_codec=codec, mhtype=mhtype, pin=keep), tuple(paths)))


@block.command("stat")
def block_stat(context: typer.Context, cid: str) -> None:
    """Show a block's size."""
    perform(context, Request("block/stat", (cid,)))


@block.command("rm")
def block_rm(
    context: typer.Context,
    cids: list[str],
    force: Annotated[bool, typer.Option("--force", "-f", help="Ignore blocks that are not there.")] = False,
) -> None:
    """Remove blocks from the store; pinned ones stay."""
    perform(context, Request("block/rm", tuple(cids), flags(force=force)))


@dag.command("get")
def dag_get(
    context: typer.Context,
    path: str,
    codec: Annotated[str, typer.Option("--output-codec")] = "dag-json",
) -> None:
    """Print a value, as DAG-JSON or in another codec."""
    perform(context, Request("dag/get", (path,), flags(output_codec=codec)))


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
    options = flags(store_codec=store_codec, input_codec=input_codec, hash=hash_name, pin=keep)
    perform(context, Request("dag/put", (), options, tuple(paths)))


@dag.command("import")
def dag_import(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(help="CAR files; - is standard input.")],
    roots: Annotated[bool, typer.Option("--pin-roots/--no-pin-roots")] = True,
    stats: Annotated[bool, typer.Option("--stats")] = False,
) -> None:
    """Import CAR files, version 1 or 2, and pin their roots."""
    perform(context, Request("dag/import", (), flags(pin_roots=roots, stats=stats), tuple(paths)))


@dag.command("export")
def dag_export(context: typer.Context, path: str) -> None:
    """Write a DAG to standard output as a CAR (version 1)."""
    perform(context, Request("dag/export", (path,)))


@dag.command("stat")
def dag_stat(context: typer.Context, paths: list[str]) -> None:
    """Count the blocks and bytes of a DAG."""
    perform(context, Request("dag/stat", tuple(paths)))
