"""The group `files`: a tree that changes."""

from __future__ import annotations

from typing import Annotated

import typer

from ipfs_kit_py.cli.options import Request
from ipfs_kit_py.cli.parser import flags, group, perform

files = group(
    "files",
    "A tree of files that can be changed, kept in the repo (MFS). Paths begin with /; `files flush` prints its CID.",
)

PATH = typer.Argument(help="Path in the tree, such as /a/b; to read also /ipfs/CID/name.")
Parents = Annotated[bool, typer.Option("--parents", "-p", help="Make the directories above too.")]
CidVersion = Annotated[int | None, typer.Option("--cid-version", min=0, max=1)]
Hash = Annotated[str | None, typer.Option("--hash", help="Hash function, default sha2-256.")]


@files.command("ls")
def files_ls(
    context: typer.Context,
    path: Annotated[str, PATH] = "/",
    long: Annotated[bool, typer.Option("--long", "-l", help="Show CIDs and sizes too.")] = False,
) -> None:
    """List a directory of the tree."""
    perform(context, Request("files/ls", (path,), {"stream": "true", "long": str(long).lower()}))


@files.command("stat")
def files_stat(context: typer.Context, path: Annotated[str, PATH] = "/") -> None:
    """Show what is at a path: CID, size, kind."""
    perform(context, Request("files/stat", (path,)))


@files.command("read")
def files_read(
    context: typer.Context,
    path: Annotated[str, PATH],
    offset: Annotated[int | None, typer.Option("--offset", "-o", min=0, help="Skip so many bytes.")] = None,
    count: Annotated[int | None, typer.Option("--count", "-n", min=0, help="At most so many bytes.")] = None,
) -> None:
    """Print a file's content."""
    perform(context, Request("files/read", (path,), flags(offset=offset, count=count)))


@files.command("write")
def files_write(
    context: typer.Context,
    path: Annotated[str, PATH],
    data: Annotated[str, typer.Argument(help="Local file with the bytes; - is standard input.")] = "-",
    offset: Annotated[int | None, typer.Option("--offset", "-o", min=0, help="Where to begin.")] = None,
    create: Annotated[bool, typer.Option("--create", "-e", help="Make the file where it is not there.")] = False,
    truncate: Annotated[bool, typer.Option("--truncate", "-t", help="Forget what it had.")] = False,
    parents: Parents = False,
    raw_leaves: Annotated[bool | None, typer.Option("--raw-leaves/--no-raw-leaves")] = None,
    cid_version: CidVersion = None,
    hash_name: Hash = None,
) -> None:
    """Write to a file."""
    options = flags(
        offset=offset, create=create, truncate=truncate, parents=parents, raw_leaves=raw_leaves,
        cid_version=cid_version, hash=hash_name,
    )  # fmt: skip
    perform(context, Request("files/write", (path,), options, (data,)))


@files.command("mkdir")
def files_mkdir(
    context: typer.Context,
    path: Annotated[str, PATH],
    parents: Parents = False,
    cid_version: CidVersion = None,
    hash_name: Hash = None,
) -> None:
    """Make a directory."""
    perform(context, Request("files/mkdir", (path,), flags(parents=parents, cid_version=cid_version, hash=hash_name)))


@files.command("cp")
def files_cp(
    context: typer.Context,
    source: Annotated[str, PATH],
    dest: Annotated[str, typer.Argument(help="Path in the tree.")],
    parents: Parents = False,
) -> None:
    """Have content at another path too; from /ipfs/CID nothing is fetched before it is read."""
    perform(context, Request("files/cp", (source, dest), flags(parents=parents)))


@files.command("mv")
def files_mv(
    context: typer.Context,
    source: Annotated[str, PATH],
    dest: Annotated[str, typer.Argument(help="Path in the tree.")],
) -> None:
    """Move a file or directory."""
    perform(context, Request("files/mv", (source, dest)))


@files.command("rm")
def files_rm(
    context: typer.Context,
    paths: Annotated[list[str], PATH],
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Directories too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="What is not there is no error; directories too.")] = False,
) -> None:
    """Remove files or directories from the tree."""
    perform(context, Request("files/rm", tuple(paths), flags(recursive=recursive, force=force)))


@files.command("flush")
def files_flush(context: typer.Context, path: Annotated[str, PATH] = "/") -> None:
    """Print the CID that a path has now."""
    perform(context, Request("files/flush", (path,)))
