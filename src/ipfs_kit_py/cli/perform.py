"""One verb from the command line: to the daemon where one runs on the repo, else to a node for the command's length."""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.cli.hashing import only_hash
from ipfs_kit_py.cli.loading import load
from ipfs_kit_py.cli.output import complain, failing
from ipfs_kit_py.cli.render import Rendering
from ipfs_kit_py.cli.sources import entries
from ipfs_kit_py.core.errors import TimedOut
from ipfs_kit_py.repo import Repo, default_path

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from ipfs_kit_py.cli.options import Options, Request


def perform(
    options: Options,
    request: Request,
    *,
    quiet: bool = False,
    quieter: bool = False,
    output: Path | None = None,
    watch: bool = False,
) -> int:
    """Perform a request and print its answer; returns the exit code."""
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.WARNING, stream=sys.stderr)
    with failing() as outcome:
        with Rendering(options, request, quiet=quiet, quieter=quieter, output=output) as rendering:
            run = _runner(options, request, rendering)
            with_timeout = partial(_within, options.timeout, run)
            trio.run(_again, with_timeout) if watch else trio.run(with_timeout)
        if rendering.failed:
            outcome.code = complain(rendering.failed)
    return outcome.code


def _runner(options: Options, request: Request, rendering: Rendering) -> Callable[[], Awaitable[None]]:
    """How the request is performed. What it needs is imported only here: hashing a file needs no network."""
    uploads = partial(entries, request, rendering.read) if request.paths is not None else None
    repo = Repo(options.repo or default_path())
    if uploads and request.verb == "add" and request.options.get("only-hash") == "true":
        return partial(only_hash, repo, request, uploads, rendering)
    address = repo.daemon_address()
    if address is not None and not options.offline:
        return partial(load("remote").perform, address, options, request, uploads, rendering)
    return partial(load("embedded").perform, repo, options, request, uploads, rendering)


async def _within(seconds: float | None, run: Callable[[], Awaitable[None]]) -> None:
    with trio.move_on_after(float("inf") if seconds is None else seconds) as scope:
        await run()
    if scope.cancelled_caught:
        raise TimedOut(f"not done within {seconds:g} s; give a longer --timeout, or check --peer")


async def _again(run: Callable[[], Awaitable[None]]) -> None:
    while True:
        await run()
        await trio.sleep(1)
