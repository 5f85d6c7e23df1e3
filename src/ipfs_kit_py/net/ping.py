"""Ping: 32 bytes there and back. Source: libp2p/specs ping/ping.md."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.config import PING_IDLE_SECONDS, PING_SECONDS
from ipfs_kit_py.core.errors import ProtocolViolation, StreamClosed, TimedOut

if TYPE_CHECKING:
    from ipfs_kit_py.core.interfaces import Stream

PING = "/ipfs/ping/1.0.0"
PAYLOAD_BYTES = 32


async def serve(stream: Stream) -> None:
    """Echo until the remote ends, errs or has sent nothing for ``PING_IDLE_SECONDS``."""
    while True:
        with trio.move_on_after(PING_IDLE_SECONDS) as idle:
            try:
                payload = await stream.read_exactly(PAYLOAD_BYTES)
            except StreamClosed:
                break
            await stream.write(payload)
        if idle.cancelled_caught:
            break
    await stream.close()


async def measure(stream: Stream) -> float:
    """One round trip over an open ping stream, in seconds. Raises ``TimedOut``, ``StreamClosed``, and
    ``ProtocolViolation`` where other bytes come back."""
    payload, start = os.urandom(PAYLOAD_BYTES), trio.current_time()
    with trio.move_on_after(PING_SECONDS):
        await stream.write(payload)
        echo = await stream.read_exactly(PAYLOAD_BYTES)
        if bytes(echo) != payload:
            raise ProtocolViolation(f"{stream.peer_id} echoed other bytes than were sent", peer=stream.peer_id)
        return trio.current_time() - start
    raise TimedOut(f"{stream.peer_id} did not answer a ping within {PING_SECONDS:.0f} s")
