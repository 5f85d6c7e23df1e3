"""Where a service leads us: other origins, each with its connections, and what of an address may be gone to."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import GATEWAY_MAX_ORIGINS
from ipfs_kit_py.storage.remote.http.client import Http

if TYPE_CHECKING:
    import ssl
    from urllib.parse import SplitResult


class Origins:
    """The last ``GATEWAY_MAX_ORIGINS`` origins that were gone to."""

    def __init__(self, *, seconds: float | None, tls: ssl.SSLContext | None = None) -> None:
        self._seconds = seconds
        self._tls = tls
        self._kept: OrderedDict[str, Http] = OrderedDict()

    async def at(self, url: SplitResult, token: str = "") -> Http:
        """The origin of a URL; ``token`` is for it alone."""
        origin = f"{url.scheme}://{url.netloc}"
        http = self._kept.get(origin)
        if http is None:
            http = self._kept[origin] = Http(origin, token=token, seconds=self._seconds, tls=self._tls)
            if len(self._kept) > GATEWAY_MAX_ORIGINS:
                _, old = self._kept.popitem(last=False)
                await old.aclose()
        self._kept.move_to_end(origin)
        return http

    async def aclose(self) -> None:
        """Close the connections."""
        while self._kept:
            await self._kept.popitem()[1].aclose()


def target_of(url: SplitResult) -> str:
    """The path of a URL with its query."""
    return f"{url.path or '/'}{'?' if url.query else ''}{url.query}"


def is_inside(host: str) -> bool:
    """Whether a host is, by its literal address or name, this machine or one of a private network."""
    try:
        return not ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
