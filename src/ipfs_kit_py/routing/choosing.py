"""What the router and the exchange want of whoever knows providers: which were found before, and which is the best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Sequence

    from ipfs_kit_py.core.cid import CID, PeerID
    from ipfs_kit_py.core.interfaces import Provider
    from ipfs_kit_py.routing.router import Router


class Choice(Protocol):
    """One provider as it was judged."""

    @property
    def provider(self) -> Provider: ...
    @property
    def reputation(self) -> float:
        """From 0, shunned, to 1: what is sure of it. Of a stranger little is, about 0.1."""
        ...

    @property
    def latency(self) -> float | None:
        """Round trip in seconds, ``None`` before it was measured."""
        ...

    @property
    def wait(self) -> float:
        """Seconds for which it is better left alone, since it failed."""
        ...


class Chooser(Protocol):
    """What is known of providers. On the loop."""

    def find_cached(self, multihash: bytes) -> Sequence[Provider] | None:
        """Those found before that are still believed; empty where nobody is known to provide; ``None``: no idea."""
        ...

    def remember(self, multihash: bytes, providers: Sequence[Provider]) -> None:
        """A search found these; none: it found nobody."""
        ...

    def optimal(
        self, multihash: bytes, providers: Sequence[Provider], *, size: int | None = None,
        preferred: Collection[PeerID] = (), count: int = 3,
    ) -> Sequence[Choice]:  # fmt: skip
        """The best of these for so many bytes, the best first; one to be left alone only where all are."""
        ...

    def judge(self, provider: Provider) -> Choice:
        """What is known of one."""
        ...

    def explained(self) -> Sequence[tuple[bytes, Sequence[Choice]]]:
        """The last choices, the newest last: the multihash, and who was chosen."""
        ...

    def update_stats(self, peer: PeerID, success: bool, *, latency: float | None = None, size: int = 0) -> None:
        """A request to a peer ended: ``size`` bytes, after ``latency`` seconds."""
        ...

    def record_affinity(self, peer: PeerID, multihash: bytes) -> None:
        """A peer had this."""
        ...


class ProvidersForBitswap:
    """What ``Bitswap`` takes as ``find_providers`` and ``on_dialled``. The router is made after it: ``attach`` it."""

    def __init__(self, chooser: Chooser | None, *, count: int, skip: Collection[str] = ()) -> None:
        self._chooser, self._count, self._skip = chooser, count, skip
        self._router: Router | None = None

    def attach(self, router: Router) -> None:
        """Search with this from now on."""
        self._router = router

    async def find(self, cid: CID) -> AsyncGenerator[tuple[PeerID, list[str]], None]:
        """Providers of a block with their addresses, of those that are known at a moment the best."""
        if self._router is None:
            return
        best = None if self._chooser is None else self._best(self._chooser, cid.multihash)
        found = self._router.find_providers(
            cid.multihash, count=self._count, skip=self._skip, best=best, believe_absent=True
        )
        try:
            async for provider in found:
                yield provider.peer, list(provider.addresses)
        finally:
            await found.aclose()

    def _best(self, chooser: Chooser, multihash: bytes) -> Callable[[Sequence[Provider], bool], Provider | None]:
        def best(providers: Sequence[Provider], last: bool) -> Provider | None:
            choices = chooser.optimal(multihash, providers, count=1)
            if not choices or (choices[0].wait > 0 and not last):
                return None  # one that failed lately is tried where nobody else comes
            return choices[0].provider

        return best

    def on_dialled(self, peer: PeerID, ok: bool, seconds: float) -> None:
        """What came of connecting to one."""
        if self._chooser is not None:
            self._chooser.update_stats(peer, ok)
        if self._router is not None:
            self._router.metrics.on_dial(seconds, ok=ok)
