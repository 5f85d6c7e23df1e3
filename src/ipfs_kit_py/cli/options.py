"""What the global options of the command line set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Options:
    """The global options. ``timeout`` in seconds, ``None`` for none."""

    repo: Path | None = None
    peers: tuple[str, ...] = ()
    offline: bool = False
    timeout: float | None = None
    json: bool = False
    role: str | None = None
    verbose: bool = False


@dataclass(frozen=True)
class Request:
    """A verb to perform. ``paths`` are local files to send (``-`` is standard input); ``options`` are RPC options."""

    verb: str
    arguments: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    paths: tuple[str, ...] | None = None
    recursive: bool = False
    hidden: bool = False
    name: str = ""
