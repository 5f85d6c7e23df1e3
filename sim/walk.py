"""One lookup driven over the simulated network, as ``routing.kad_walk`` drives it over the real one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.routing.lookup import Ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.routing.kad_wire import PeerInfo
    from ipfs_kit_py.routing.lookup import Done
    from sim.kinds import AnyLookup
    from sim.node import Node
    from sim.world import Answer


class Walk:
    """``on_answer(peer, providers, walk)`` may ``stop``; ``on_done(done, walk)`` ends it, with ``None`` where the node
    went offline meanwhile."""

    def __init__(
        self, node: Node, lookup: AnyLookup, key: int, *, wanted: bytes | None = None,
        on_answer: Callable[[PeerID, list[PeerID], Walk], None] | None = None,
        on_done: Callable[[Done | None, Walk], None],
    ) -> None:  # fmt: skip
        self.node, self.lookup, self.key, self.wanted = node, lookup, key, wanted
        self._on_answer, self._on_done = on_answer, on_done
        self.messages = 0
        self.began = node.world.clock.now
        self._ended = False
        self._session = node.session
        self._timer = float("inf")
        self._pump()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return self.node.world.clock.now - self.began

    def _pump(self) -> None:
        clock, lookup = self.node.world.clock, self.lookup
        action = lookup.next_action(clock.now)
        while isinstance(action, Ask):
            self._ask(action.info)
            action = lookup.next_action(clock.now)
        if action is not None:
            self._end(action)
            return
        deadline = lookup.deadline()
        if deadline is not None and deadline < self._timer:
            self._timer = deadline
            clock.at(deadline, self._on_timer)

    def _end(self, done: Done | None) -> None:
        self._ended = True
        self._on_done(done, self)

    def _on_timer(self) -> None:
        now = self.node.world.clock.now
        if self._over() or now < self._timer:
            return
        self._timer = float("inf")
        self.lookup.on_timeout(now)
        self._pump()

    def _over(self) -> bool:
        if not self._ended and self.node.session != self._session:
            self._end(None)
        return self._ended

    def _ask(self, info: PeerInfo) -> None:
        self.messages += 1
        self.node.request(info, self.key, self.wanted, lambda answer: self._on_answered(info, answer), self._over)

    def _on_answered(self, info: PeerInfo, answer: Answer | None) -> None:
        now = self.node.world.clock.now
        if answer is None:
            self.lookup.on_failure(info.peer, now)
        else:
            if self._on_answer is not None:
                self._on_answer(info.peer, answer.providers, self)
            self.lookup.on_answer(info.peer, answer.closer, now)
        self._pump()
