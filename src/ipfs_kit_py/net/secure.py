"""From a raw pipe to a sealed one: multistream, Noise, and the choice of yamux. Nothing ever travels in the clear
after it, and nothing before it is unbounded in size or time.

Where both sides offer their muxers within the handshake, a dialer's first stream can leave after one round trip: the
proposal of Noise and its first message go together, and the choice of yamux costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.config import HANDSHAKE_SECONDS, NOISE_FRAME_BYTES
from ipfs_kit_py.core.errors import ProtocolViolation, StreamClosed
from ipfs_kit_py.net import multistream, noise, yamux

if TYPE_CHECKING:
    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.crypto.keys import PrivateKey, PublicKey
    from ipfs_kit_py.net.transports import RawStream

_READ_BYTES = 8 * 1024


@dataclass(frozen=True)
class SecureConnection:
    """An authenticated pipe that both sides use for yamux.

    ``sealed`` and ``plain`` are bytes that came behind the handshake: not yet opened, and opened already.
    """

    raw: RawStream
    session: noise.Session
    remote_public_key: PublicKey
    peer_id: PeerID
    outbound: bool
    sealed: bytes
    plain: bytes


class _Pipe:
    """A raw pipe during the handshake. What is to be sent waits in ``out`` until there is something to wait for."""

    def __init__(self, raw: RawStream) -> None:
        self._raw = raw
        self._view = memoryview(bytearray(_READ_BYTES))
        self.out = bytearray()
        self.data = bytearray()

    async def flush(self) -> None:
        if self.out:
            out, self.out = self.out, bytearray()
            await self._raw.send_all(out)

    async def more(self) -> None:
        """Send what waits, then wait until more has come into ``data``."""
        await self.flush()
        count = await self._raw.receive_into(self._view)
        if not count:
            raise StreamClosed(f"{self._raw.remote_address} closed the connection during the handshake")
        self.data += self._view[:count]

    def take_all(self) -> bytes:
        data = bytes(self.data)
        self.data.clear()
        return data

    async def frame(self, limit: int) -> bytes:
        """One frame behind its two bytes of length."""
        while len(self.data) < 2:
            await self.more()
        size = int.from_bytes(self.data[:2], "big")
        if size > limit:
            raise ProtocolViolation(f"a handshake message of {size} bytes; at most {limit} are read")
        while len(self.data) < 2 + size:
            await self.more()
        message = bytes(self.data[2 : 2 + size])
        del self.data[: 2 + size]
        return message

    def put_frame(self, message: bytes) -> None:
        self.out += len(message).to_bytes(2, "big") + message


async def secure(raw: RawStream, key: PrivateKey, *, outbound: bool, expected: PeerID | None) -> SecureConnection:
    """Authenticate both ends of ``raw`` and agree on yamux, within ``HANDSHAKE_SECONDS``.

    ``expected`` is the peer that must answer. On any failure the pipe is closed: ``ProtocolViolation`` where the
    remote does not keep to the protocols or is another peer, ``StreamClosed`` where it goes away or is too slow.
    """
    try:
        with trio.move_on_after(HANDSHAKE_SECONDS):
            pipe = _Pipe(raw)
            shake = noise.Handshake(key, initiator=outbound, expected=expected, muxers=(yamux.PROTOCOL,))
            await (_initiate(pipe, shake) if outbound else _respond(pipe, shake))
            return await _choose_muxer(raw, pipe, shake, outbound=outbound)
        raise StreamClosed(f"{raw.remote_address} did not finish the handshake within {HANDSHAKE_SECONDS:.0f} s")
    except BaseException:
        with trio.CancelScope(shield=True):
            await raw.aclose()
        raise


async def _initiate(pipe: _Pipe, shake: noise.Handshake) -> None:
    dialer = multistream.Dialer([noise.PROTOCOL])
    pipe.out += dialer.take()
    pipe.put_frame(shake.write())
    while not dialer.done:
        await pipe.more()
        dialer.receive(pipe.take_all())
    if dialer.failed:
        raise ProtocolViolation(f"the remote does not speak {noise.PROTOCOL}, the only security that this node has")
    pipe.data += dialer.rest
    shake.read(await pipe.frame(noise.MAX_HANDSHAKE_MESSAGE))
    pipe.put_frame(shake.write())


async def _respond(pipe: _Pipe, shake: noise.Handshake) -> None:
    listener = multistream.Listener(lambda name: name == noise.PROTOCOL)
    while not listener.done:
        await pipe.more()
        listener.receive(pipe.take_all())
        pipe.out += listener.take()
    pipe.data += listener.rest
    shake.read(await pipe.frame(noise.MAX_HANDSHAKE_MESSAGE))
    pipe.put_frame(shake.write())
    shake.read(await pipe.frame(noise.MAX_HANDSHAKE_MESSAGE))


async def _choose_muxer(raw: RawStream, pipe: _Pipe, shake: noise.Handshake, *, outbound: bool) -> SecureConnection:
    peer, session = shake.peer_id, shake.session()
    plain = b""
    if shake.early_muxer() is None:
        if shake.muxers:
            raise ProtocolViolation(f"{peer} offers no muxer but {len(shake.muxers)} that this node lacks", peer=peer)
        negotiator: multistream.Dialer | multistream.Listener
        if outbound:
            negotiator = multistream.Dialer([yamux.PROTOCOL])
        else:
            negotiator = multistream.Listener(lambda name: name == yamux.PROTOCOL)
        plain = await _negotiate_sealed(pipe, session, negotiator)
        if negotiator.protocol is None:
            raise ProtocolViolation(f"{peer} does not speak {yamux.PROTOCOL}", peer=peer)
    await pipe.flush()
    assert shake.remote_key is not None
    return SecureConnection(raw, session, shake.remote_key, peer, outbound, pipe.take_all(), plain)


async def _negotiate_sealed(
    pipe: _Pipe, session: noise.Session, negotiator: multistream.Dialer | multistream.Listener
) -> bytes:
    """multistream inside the sealed channel; returns opened bytes that came behind it."""
    while True:
        if out := negotiator.take():
            sealed = bytearray(session.sealed_size([out]))
            used = session.seal([out], memoryview(sealed))
            pipe.out += sealed[:used]
        if negotiator.done:
            return negotiator.rest
        data = await pipe.frame(NOISE_FRAME_BYTES)
        framed = memoryview(len(data).to_bytes(2, "big") + data)
        for plain in session.open(framed, len(framed))[0]:
            negotiator.receive(plain)
