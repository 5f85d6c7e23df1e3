"""What the commands are made of: groups, options of verbs, and how a verb is performed.

What a command does is loaded when it is used: help costs nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from ipfs_kit_py.cli.loading import load

if TYPE_CHECKING:
    from ipfs_kit_py.cli.options import Request


def group(name: str, text: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(name=name, help=text, no_args_is_help=True, rich_markup_mode=None)


def perform(context: typer.Context, request: Request, **more: Any) -> None:
    """Have a verb performed, and end with its exit code."""
    raise typer.Exit(load("perform").perform(context.obj, request, **more))


def flags(**options: object) -> dict[str, str]:
    """RPC options from Python values: ``None`` is left out, ``_`` becomes ``-``."""
    found = {}
    for name, value in options.items():
        if value is not None:
            found[name.replace("_", "-")] = str(value).lower() if isinstance(value, bool) else str(value)
    return found
