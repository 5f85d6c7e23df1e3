"""Where this node listens, what it announces of that, and where it is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ipfs_kit_py.net import addresses, transports
from ipfs_kit_py.net.dial_plan import Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ipfs_kit_py.net.addresses import IPInterface
    from ipfs_kit_py.net.transports import Listener, Transport

log = logging.getLogger(__name__)


class Listening:
    """The listeners of a node. ``announce`` takes the place of what they are reached at; ``interfaces`` looks up this
    machine's addresses."""

    def __init__(
        self,
        announce: Iterable[str] = (),
        *,
        interfaces: Callable[[], list[IPInterface]] = transports.interfaces,
    ) -> None:
        self._announce = [addresses.parse(text).text for text in announce]
        self._interfaces = interfaces
        self.listeners: list[Listener] = []
        self._here = Surroundings()
        self._reached: list[str] = []

    async def bind(self, texts: Iterable[str], over: Sequence[Transport]) -> None:
        """Listen on every address, or raise ``InvalidAddress`` and listen on none."""
        try:
            for transport, text in transports.usable_listen(texts, over):
                self.listeners.append(await transport.listen(text))
        except BaseException:
            await self.close()
            raise
        self.refresh()

    async def close(self) -> None:
        """Stop listening."""
        for listener in self.listeners:
            await listener.aclose()
        self.listeners = []

    def refresh(self) -> bool:
        """Look this machine's addresses up again; whether they changed."""
        try:
            faces = tuple(self._interfaces())
        except (OSError, ValueError) as error:
            log.warning("this machine's addresses cannot be read: %s", error)
            faces = self._here.interfaces
        reached = [text for bound in self.bound() for text in transports.expand(bound, faces)]
        here = Surroundings(faces, frozenset([*reached, *self.bound(), *self._announce]))
        changed = here != self._here
        self._here, self._reached = here, list(dict.fromkeys(reached))
        return changed

    def bound(self) -> list[str]:
        """What the listeners are bound to."""
        return [text for listener in self.listeners for text in listener.addresses]

    def announced(self) -> list[str]:
        """What peers are told, as far as each can use it."""
        return list(self._announce or self._reached)

    def surroundings(self) -> Surroundings:
        """Where this node is."""
        return self._here
