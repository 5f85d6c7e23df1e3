"""The accept loops: inbound pipes to authenticated connections, whatever the pipes do."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from ipfs_kit_py.core.config import ACCEPT_PAUSE_SECONDS
from ipfs_kit_py.core.errors import IPFSKitError, StreamClosed
from ipfs_kit_py.net import addresses
from ipfs_kit_py.net.transports import NO_ROOM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ipfs_kit_py.net.gate import Gate
    from ipfs_kit_py.net.limits import Unauthenticated
    from ipfs_kit_py.net.transports import AcceptedStream, Listener

log = logging.getLogger(__name__)

T = TypeVar("T")


class Acceptor(Generic[T]):
    """Accepts from listeners. ``authenticate`` does the handshake; ``adopt`` takes what came out of it and returns at
    once; ``is_full`` says whether there is no room for another connection at all."""

    def __init__(
        self,
        *,
        gate: Gate,
        table: Unauthenticated,
        is_full: Callable[[], bool],
        authenticate: Callable[[AcceptedStream], Awaitable[T]],
        adopt: Callable[[T], None],
    ) -> None:
        self._gate = gate
        self._table = table
        self._is_full = is_full
        self._authenticate = authenticate
        self._adopt = adopt
        self._keys = itertools.count(1)
        self._scopes: dict[int, trio.CancelScope] = {}
        self._told_no_room = False

    async def serve(self, listener: Listener, nursery: trio.Nursery) -> None:
        """Accept until the listener is closed; each pipe has its own task in ``nursery``."""
        while True:
            try:
                raw = await listener.accept()
            except StreamClosed:
                return
            except OSError as error:
                await self._pause(error)
                continue
            self._told_no_room = False
            nursery.start_soon(self._one, raw)

    async def _pause(self, error: OSError) -> None:
        if error.errno not in NO_ROOM:  # this one went away while it waited
            await trio.lowlevel.checkpoint()
            return
        if not self._told_no_room:
            self._told_no_room = True
            log.warning("cannot accept connections for now: %s; raise the limit of open files (ulimit -n)", error)
        await trio.sleep(ACCEPT_PAUSE_SECONDS)

    async def _one(self, raw: AcceptedStream) -> None:
        kept = False
        try:
            kept = await self._admit(raw)
        except IPFSKitError as error:
            log.debug("inbound connection from %s ended in its handshake: %s", raw.remote_address, error)
        except Exception:  # a defect of ours costs this connection alone
            log.exception("inbound connection from %s", raw.remote_address)
        finally:
            if not kept:
                await raw.aclose()

    async def _admit(self, raw: AcceptedStream) -> bool:
        ip = addresses.ip_of(raw.remote_address)
        if not self._gate.admits_ip(ip) or self._is_full():
            return False
        key = next(self._keys)
        admitted, evicted = self._table.admit(key, ip, lambda: raw.received, trio.current_time())
        if evicted is not None:
            self._scopes[evicted].cancel()
        if not admitted:
            return False
        with trio.CancelScope() as self._scopes[key]:
            try:
                self._adopt(await self._authenticate(raw))
                return True
            finally:
                self._table.release(key)
                del self._scopes[key]
        return False
