"""Tells one peer of our wants, on one stream that is opened when there is something to say, and kept."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.bitswap.wire import PROTOCOLS, V120, Message, encode
from ipfs_kit_py.core.config import BACKOFF_BASE_SECONDS, WANT_TIMEOUT_MIN, WRITE_STALL_SECONDS
from ipfs_kit_py.core.errors import IPFSKitError, NotSupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipfs_kit_py.bitswap.wire import Entry
    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import Network, Stream

logger = logging.getLogger(__name__)

DOUBT_SECONDS = 2.0  # a stream that ends so soon after a message may have lost it
MAX_PAUSE_SECONDS = 12 * BACKOFF_BASE_SECONDS  # between attempts to reach a connected peer whose streams fail


class Sender:
    """One peer's outgoing stream. Everything is bounded by time, and nobody else waits for it.

    ``take(peer)`` gives the next message's entries and whether they are the full list, ``None`` for no message;
    ``spoken(peer, protocol)`` hears the version of an opened stream, ``lost(peer)`` that messages may be lost and all
    is to be told again, ``refused(peer)`` that the peer does not speak bitswap.
    """

    def __init__(
        self,
        network: Network,
        peer: PeerID,
        *,
        take: Callable[[PeerID], tuple[list[Entry], bool] | None],
        spoken: Callable[[PeerID, str], None],
        lost: Callable[[PeerID], None],
        refused: Callable[[PeerID], None],
    ) -> None:
        self._network = network
        self._peer = peer
        self._take = take
        self._spoken = spoken
        self._lost = lost
        self._refused = refused
        self._woken = trio.Event()
        self._scope = trio.CancelScope()
        self._stream: Stream | None = None
        self._written_at = float("-inf")
        self._opened_at = float("-inf")
        self._pause = WANT_TIMEOUT_MIN

    def wake(self) -> None:
        """There is something to say."""
        self._woken.set()

    def stop(self) -> None:
        """The peer has gone."""
        self._scope.cancel()

    async def run(self) -> None:
        """Work until stopped."""
        with self._scope:
            try:
                async with trio.open_nursery() as nursery:
                    while True:
                        await self._woken.wait()
                        self._woken = trio.Event()
                        await self._say(nursery)
            finally:
                self._drop()

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.reset()

    async def _say(self, nursery: trio.Nursery) -> None:
        """Send all that there is to say; after a failure again, a little later."""
        try:
            with trio.fail_after(WRITE_STALL_SECONDS):
                stream = self._stream or await self._open(nursery)
                while (message := self._take(self._peer)) is not None:
                    entries, full = message
                    self._written_at = trio.current_time()
                    parts = encode(Message(entries=entries, full=full), stream.protocol)
                    if parts:
                        await stream.write_message(*parts)
                    if stream is not self._stream:  # its remote ended it meanwhile
                        self._woken.set()
                        return
        except NotSupported:
            self._drop()
            self._refused(self._peer)
        except (IPFSKitError, trio.TooSlowError) as error:
            logger.debug("wants did not reach %s: %s", self._peer, error)
            self._drop()
            await self._retell()

    async def _open(self, nursery: trio.Nursery) -> Stream:
        stream = self._stream = await self._network.open_stream(self._peer, PROTOCOLS)
        self._opened_at = trio.current_time()
        nursery.start_soon(self._watch, stream)
        self._spoken(self._peer, stream.protocol)
        return stream

    async def _watch(self, stream: Stream) -> None:
        """Nothing is ever answered on this stream, but its loss shows here before the next message is written to it.

        Helia closes its half at once, which is no loss, and resets the stream after seconds without a message; it
        remembers what it was told, so that only a message that was just sent is in doubt.
        """
        try:
            while await stream.read(1024):
                pass  # against the protocol, and harmless
            await stream.wait_reset()
        except NotSupported:
            self._refused(self._peer)
            return
        except IPFSKitError as error:
            logger.debug("the stream of wants to %s ended: %s", self._peer, error)
        if stream is not self._stream:
            return  # it was dropped here
        self._drop()
        now = trio.current_time()
        if now - self._opened_at > MAX_PAUSE_SECONDS:
            self._pause = WANT_TIMEOUT_MIN  # it was a good stream
        if now - self._written_at < DOUBT_SECONDS:
            await self._retell()

    async def _retell(self) -> None:
        await trio.sleep(self._pause)
        self._pause = min(2 * self._pause, MAX_PAUSE_SECONDS)
        self._lost(self._peer)


def has_presences(protocol: str) -> bool:
    """Whether this version of the protocol can say HAVE and DONT_HAVE."""
    return protocol == V120
