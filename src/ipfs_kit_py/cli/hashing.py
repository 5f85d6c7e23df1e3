"""``add --only-hash``: CIDs of local files, with no node and no network."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from ipfs_kit_py.content.add import add_entries, chosen_profile
from ipfs_kit_py.core import kubo_shapes as shapes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ipfs_kit_py.cli.options import Request
    from ipfs_kit_py.cli.render import Rendering
    from ipfs_kit_py.content.files import Entry
    from ipfs_kit_py.repo import Repo


async def only_hash(
    repo: Repo, request: Request, uploads: Callable[[], AsyncIterator[Entry]], rendering: Rendering
) -> None:
    """Hash the request's files as ``add`` would store them: under the repo's own profile where none is named."""
    profile = chosen_profile(request.options, repo.config().profile)
    wrap = request.options.get("wrap-with-directory") == "true"
    async with aclosing(add_entries(uploads(), profile, put=None, wrap=wrap)) as rows:
        async for row in rows:
            if row.cid is not None:
                await rendering.row(shapes.added(row.name, row.cid, row.size))
