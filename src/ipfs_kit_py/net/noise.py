"""Noise_XX_25519_ChaChaPoly_SHA256 as libp2p uses it: the handshake, and the sealed frames after it. Sans-I/O.

A handshake takes its ephemeral and static keys from the system's generator. Frames are two bytes of length and up to
65,535 of ciphertext; any frame that does not open ends the session for good.

Source: noiseprotocol.org/noise.html (revision 34), libp2p/specs noise/README.md.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from google.protobuf.message import DecodeError

from ipfs_kit_py.core.config import NOISE_FRAME_BYTES, NOISE_HANDSHAKE_PAYLOAD_BYTES, NOISE_PLAINTEXT_BYTES
from ipfs_kit_py.core.errors import ProtocolViolation
from ipfs_kit_py.crypto.keys import PublicKey
from ipfs_kit_py.net.noise_pb2 import NoiseExtensions, NoiseHandshakePayload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.crypto.keys import PrivateKey

PROTOCOL = "/noise"
SIGNED_PREFIX = b"noise-libp2p-static-key:"
TAG_BYTES = 16
KEY_BYTES = 32
MAX_NONCE = 2**64 - 1  # reserved by the protocol: the last usable nonce is one below

_FAILED = 9  # in place of the number of messages that have passed
_NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"
# ephemeral and static key, each with a tag, around the payload
MAX_HANDSHAKE_MESSAGE = NOISE_HANDSHAKE_PAYLOAD_BYTES + 2 * (KEY_BYTES + TAG_BYTES)
# Shorter parts are gathered into one frame; a longer one is sealed from where it lies.
_GATHER_BELOW = 8 * 1024


class _Cipher:
    """One key and the number of messages it has sealed or opened."""

    __slots__ = ("aead", "nonce")

    def __init__(self, key: bytes) -> None:
        self.aead = ChaCha20Poly1305(key)
        self.nonce = 0

    def next_nonce(self) -> bytes:
        """The next nonce as the AEAD takes it; never used twice."""
        if self.nonce >= MAX_NONCE:
            raise ProtocolViolation("a session's nonces are used up")
        number = self.nonce
        self.nonce = number + 1
        return (number << 32).to_bytes(12, "little")

    def seal(self, data: bytes, associated: bytes | None) -> bytes:
        return self.aead.encrypt(self.next_nonce(), data, associated)

    def open(self, data: bytes, associated: bytes | None) -> bytes:
        try:
            return self.aead.decrypt(self.next_nonce(), data, associated)
        except InvalidTag:
            raise ProtocolViolation("a sealed message does not open: it was changed on its way") from None


class _Symmetric:
    """The protocol's symmetric state: chaining key, transcript hash, and the current cipher."""

    __slots__ = ("_chaining", "_cipher", "_hash")

    def __init__(self) -> None:
        self._chaining = self._hash = _NAME  # exactly 32 bytes long: the name itself is the first hash
        self._cipher: _Cipher | None = None
        self.mix_hash(b"")  # an empty prologue

    def mix_hash(self, data: bytes) -> None:
        self._hash = hashlib.sha256(self._hash + data).digest()

    def _expand(self, material: bytes) -> tuple[bytes, bytes]:
        secret = hmac.digest(self._chaining, material, "sha256")
        first = hmac.digest(secret, b"\x01", "sha256")
        return first, hmac.digest(secret, first + b"\x02", "sha256")

    def mix_key(self, material: bytes) -> None:
        self._chaining, key = self._expand(material)
        self._cipher = _Cipher(key)

    def seal(self, data: bytes) -> bytes:
        sealed = data if self._cipher is None else self._cipher.seal(data, self._hash)
        self.mix_hash(sealed)
        return sealed

    def open(self, data: bytes) -> bytes:
        plain = data if self._cipher is None else self._cipher.open(data, self._hash)
        self.mix_hash(data)
        return plain

    def split(self) -> tuple[_Cipher, _Cipher]:
        first, second = self._expand(b"")
        return _Cipher(first), _Cipher(second)


def _exchange(own: X25519PrivateKey, remote: bytes) -> bytes:
    """X25519; ``ProtocolViolation`` where the remote's key is of small order (the secret would be known to all)."""
    try:
        return own.exchange(X25519PublicKey.from_public_bytes(remote))
    except ValueError:
        raise ProtocolViolation("a Noise key of small order") from None


class Handshake:
    """One side of a handshake: alternate ``write`` and ``read`` until ``done``; the initiator writes first.

    After it ``remote_key`` is the peer's identity, ``muxers`` what it offered early, ``session()`` the sealed channel.
    """

    def __init__(
        self, key: PrivateKey, *, initiator: bool, expected: PeerID | None = None, muxers: Sequence[str] = ()
    ) -> None:
        """``expected`` is the peer that must answer; ``muxers`` are offered in the handshake (early muxer choice)."""
        self._key = key
        self._initiator = initiator
        self._expected = expected
        self._own_muxers = tuple(muxers)
        self._state = _Symmetric()
        self._static = X25519PrivateKey.generate()
        self._ephemeral = X25519PrivateKey.generate()
        self._remote_ephemeral = b""
        self._remote_static = b""
        self._step = 0
        self.remote_key: PublicKey | None = None
        self.muxers: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether all three messages have passed."""
        return self._step == 3

    @property
    def my_turn(self) -> bool:
        """Whether the next message is ours."""
        return self._step < 3 and (self._step % 2 == 0) == self._initiator

    @property
    def peer_id(self) -> PeerID:
        """The authenticated peer; only after the handshake."""
        if self.remote_key is None or not self.done:
            raise ValueError("the handshake is not over, or has failed")
        return self.remote_key.peer_id()

    def write(self) -> bytes:
        """The next message, without its length."""
        if not self.my_turn:
            raise ValueError("it is the other side's turn")
        step, self._step = self._step, _FAILED
        out = self._write(step)
        self._step = step + 1
        return out

    def _write(self, step: int) -> bytes:
        state, own = self._state, self._ephemeral.public_key().public_bytes_raw()
        if step == 0:
            state.mix_hash(own)
            return own + state.seal(b"")
        out = b""
        if step == 1:
            state.mix_hash(own)
            state.mix_key(_exchange(self._ephemeral, self._remote_ephemeral))
            out = own
        out += state.seal(self._static.public_key().public_bytes_raw())
        state.mix_key(_exchange(self._static, self._remote_ephemeral))
        return out + state.seal(self._payload())

    def read(self, message: Buffer) -> None:
        """Take in the next message, without its length. ``ProtocolViolation`` where it is not right in any respect."""
        if self.my_turn or self._step >= 3:
            raise ValueError("it is our turn, or the handshake is over")
        data = bytes(message)
        least = (KEY_BYTES, 2 * (KEY_BYTES + TAG_BYTES), KEY_BYTES + 2 * TAG_BYTES)[self._step]
        if not least <= len(data) <= MAX_HANDSHAKE_MESSAGE:
            raise ProtocolViolation(f"message {self._step + 1} of the Noise handshake has {len(data)} bytes")
        step, self._step = self._step, _FAILED
        self._read(step, data)
        self._step = step + 1

    def _read(self, step: int, data: bytes) -> None:
        state = self._state
        if step < 2:
            self._remote_ephemeral, data = data[:KEY_BYTES], data[KEY_BYTES:]
            state.mix_hash(self._remote_ephemeral)
        if step == 0:
            state.open(data)
            return
        if step == 1:
            state.mix_key(_exchange(self._ephemeral, self._remote_ephemeral))
        split = KEY_BYTES + TAG_BYTES
        self._remote_static = state.open(data[:split])
        state.mix_key(_exchange(self._ephemeral, self._remote_static))
        self._check_payload(state.open(data[split:]))

    def _payload(self) -> bytes:
        public = self._static.public_key().public_bytes_raw()
        message = NoiseHandshakePayload(
            identity_key=self._key.public_key.encode(),
            identity_sig=self._key.sign(SIGNED_PREFIX + public),
            extensions=NoiseExtensions(stream_muxers=[name.encode() for name in self._own_muxers]),
        )
        return message.SerializeToString()

    def _check_payload(self, raw: bytes) -> None:
        try:
            message = NoiseHandshakePayload.FromString(raw)
        except DecodeError:
            raise ProtocolViolation("the payload of the Noise handshake is malformed") from None
        key = PublicKey.decode(message.identity_key)
        peer = key.peer_id()
        if not key.verify(SIGNED_PREFIX + self._remote_static, message.identity_sig):
            raise ProtocolViolation(f"the Noise key is not signed by {peer}", peer=peer)
        if self._expected is not None and peer != self._expected:
            raise ProtocolViolation(f"{peer} answered where {self._expected} was expected", peer=self._expected)
        self.remote_key = key
        self.muxers = tuple(name.decode(errors="replace") for name in message.extensions.stream_muxers)

    def early_muxer(self) -> str | None:
        """The muxer that both offered: the initiator's first that the responder has too; ``None`` without one."""
        ours, theirs = self._own_muxers, self.muxers
        first, second = (ours, theirs) if self._initiator else (theirs, ours)
        return next((name for name in first if name in second), None)

    def session(self) -> Session:
        """The sealed channel; once, after the handshake."""
        if not self.done:
            raise ValueError("the handshake is not over, or has failed")
        first, second = self._state.split()
        return Session(*((first, second) if self._initiator else (second, first)))

    def __repr__(self) -> str:
        passed = "failed" if self._step == _FAILED else f"{self._step} of 3 messages"
        return f"<noise.Handshake {'initiator' if self._initiator else 'responder'}, {passed}>"


class Session:
    """Seals and opens frames. Not a byte is copied that need not be: what is long is sealed from where it lies."""

    __slots__ = ("_in", "_out", "_scratch", "broken")

    def __init__(self, out: _Cipher, into: _Cipher) -> None:
        self._out = out
        self._in = into
        self._scratch = bytearray()
        self.broken = False

    @staticmethod
    def sealed_size(parts: Sequence[bytes | memoryview]) -> int:
        """At most how many bytes ``seal`` makes of these parts."""
        size = sum(map(len, parts))
        frames = size // NOISE_PLAINTEXT_BYTES + 2 * len(parts) + 1
        return size + frames * (2 + TAG_BYTES)

    def seal(self, parts: Sequence[bytes | memoryview], out: memoryview) -> int:
        """Seal the parts one after another into ``out``; returns how many bytes of it were used.

        Frame limits need not be the parts' limits: short ones share a frame, long ones are cut.
        """
        scratch, at = self._scratch, 0
        for part in parts:
            size = len(part)
            if size < _GATHER_BELOW:
                if len(scratch) + size > NOISE_PLAINTEXT_BYTES:
                    at = self._flush(out, at)
                scratch += part
                continue
            if scratch:
                at = self._flush(out, at)
            view, start = memoryview(part), 0
            while size - start >= _GATHER_BELOW:
                end = min(start + NOISE_PLAINTEXT_BYTES, size)
                at = self._seal_one(view[start:end], end - start, out, at)
                start = end
            scratch += view[start:]
        return self._flush(out, at) if scratch else at

    def _flush(self, out: memoryview, at: int) -> int:
        scratch = self._scratch
        at = self._seal_one(scratch, len(scratch), out, at)
        scratch.clear()
        return at

    def _seal_one(self, plain: bytearray | memoryview, size: int, out: memoryview, at: int) -> int:
        size += TAG_BYTES
        out[at] = size >> 8
        out[at + 1] = size & 0xFF
        end = at + 2 + size
        cipher = self._out
        cipher.aead.encrypt_into(cipher.next_nonce(), plain, None, out[at + 2 : end])
        return end

    def open(self, data: memoryview, have: int) -> tuple[list[bytes], int]:
        """The plaintexts of the whole frames among the first ``have`` bytes of ``data``, and how many bytes they took.

        ``ProtocolViolation`` where one does not open; the session is then unusable.
        """
        if self.broken:
            raise ProtocolViolation("the Noise session is broken")
        plains: list[bytes] = []
        cipher = self._in
        decrypt, at = cipher.aead.decrypt, 0
        try:
            while have - at >= 2:
                end = at + 2 + (data[at] << 8 | data[at + 1])
                if end > have:
                    break
                plains.append(decrypt(cipher.next_nonce(), data[at + 2 : end], None))
                at = end
        except (InvalidTag, ProtocolViolation):
            self.broken = True
            raise ProtocolViolation("a sealed frame does not open: it was changed on its way") from None
        return plains, at

    def __repr__(self) -> str:
        state = "broken" if self.broken else "open"
        return f"<noise.Session {state}, {self._out.nonce} frames sealed, {self._in.nonce} opened>"


FRAME_ROOM = NOISE_FRAME_BYTES + 2  # a buffer must have this much for the longest frame with its length
