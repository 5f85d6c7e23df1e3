"""The groups `key` and `name`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ipfs_kit_py.cli.loading import load
from ipfs_kit_py.cli.options import Request
from ipfs_kit_py.cli.parser import flags, group, perform

key = group("key", "Keys that names are published with.")
name = group("name", "Names: paths that can change, signed by a key.")

KEY_FORMS = "libp2p-protobuf-cleartext or pem-pkcs8-cleartext."


@key.command("gen")
def key_gen(
    context: typer.Context,
    called: Annotated[str, typer.Argument(metavar="NAME")],
    kind: Annotated[str, typer.Option("--type", "-t", help="ed25519 or rsa.")] = "ed25519",
    size: Annotated[int | None, typer.Option("--size", "-s", help="Bits of an rsa key.")] = None,
) -> None:
    """Make a key."""
    perform(context, Request("key/gen", (called,), flags(type=kind, size=size)))


@key.command("list")
def key_list(
    context: typer.Context,
    ids: Annotated[bool, typer.Option("-l", "--long", help="Show what they publish as, too.")] = False,
) -> None:
    """List the keys."""
    perform(context, Request("key/list", (), {"l": "true"} if ids else {}))


@key.command("export")
def key_export(
    context: typer.Context,
    called: Annotated[str, typer.Argument(metavar="NAME")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write it [default: NAME.key].")
    ] = None,
    form: Annotated[str, typer.Option("--format", "-f", help=KEY_FORMS)] = "libp2p-protobuf-cleartext",
) -> None:
    """Write a key's secret to a file that its owner alone can read."""
    raise typer.Exit(load("local").key_export(context.obj, called, output, form))


@key.command("import")
def key_import(
    context: typer.Context,
    called: Annotated[str, typer.Argument(metavar="NAME")],
    path: Annotated[str, typer.Argument(metavar="FILE", help="- is standard input.")],
    form: Annotated[str, typer.Option("--format", "-f", help=KEY_FORMS)] = "libp2p-protobuf-cleartext",
    any_type: Annotated[bool, typer.Option("--allow-any-key-type", help="Not Ed25519 and RSA alone.")] = False,
) -> None:
    """Take in a key that was exported here, by Kubo or by OpenSSL."""
    perform(context, Request("key/import", (called,), flags(format=form, allow_any_key_type=any_type), (path,)))


@key.command("rm")
def key_rm(context: typer.Context, called: Annotated[list[str], typer.Argument(metavar="NAME")]) -> None:
    """Forget keys for ever."""
    perform(context, Request("key/rm", tuple(called)))


@key.command("rename")
def key_rename(
    context: typer.Context,
    old: str,
    new: str,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a key that has the name.")] = False,
) -> None:
    """Give a key another name."""
    perform(context, Request("key/rename", (old, new), flags(force=force)))


@name.command("publish")
def name_publish(
    context: typer.Context,
    path: Annotated[str, typer.Argument(help="CID, /ipfs/CID/path or /ipns/NAME.")],
    chosen: Annotated[str, typer.Option("--key", "-k", help="Name or id of the key.")] = "self",
    lifetime: Annotated[str | None, typer.Option("--lifetime", "-t", help="Such as 24h [default: 48h].")] = None,
    ttl: Annotated[str | None, typer.Option("--ttl", help="How long caches may keep it [default: 5m].")] = None,
    offline: Annotated[
        bool, typer.Option("--allow-offline", help="Keep it here where nobody can be told, and publish it later.")
    ] = False,
    v1: Annotated[bool, typer.Option("--v1compat/--no-v1compat", help="Let old nodes read it.")] = True,
    quieter: Annotated[bool, typer.Option("--quieter", "-Q", help="Print the name alone.")] = False,
) -> None:
    """Point a key's name to a path."""
    options = flags(key=chosen, lifetime=lifetime, ttl=ttl, allow_offline=offline, v1compat=v1)
    perform(context, Request("name/publish", (path,), options), quieter=quieter)


@name.command("resolve")
def name_resolve(
    context: typer.Context,
    called: Annotated[str | None, typer.Argument(metavar="NAME")] = None,
    recursive: Annotated[bool, typer.Option("--recursive/--no-recursive", "-r", help="Follow names to names.")] = True,
    nocache: Annotated[bool, typer.Option("--nocache", "-n", help="Ask the network in any case.")] = False,
) -> None:
    """Show the path that a name leads to."""
    perform(context, Request("name/resolve", (called,) if called else (), flags(nocache=nocache, recursive=recursive)))
