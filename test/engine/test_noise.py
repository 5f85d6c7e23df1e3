"""Noise: both roles with a link between them, an independent reading of the protocol, and tampering."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.config import NOISE_PLAINTEXT_BYTES
from ipfs_kit_py.core.errors import ProtocolViolation
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.net.noise import MAX_HANDSHAKE_MESSAGE, MAX_NONCE, Handshake, Session
from ipfs_kit_py.net.noise_pb2 import NoiseExtensions, NoiseHandshakePayload

ALICE, BOB = PrivateKey.generate(), PrivateKey.generate()


def _pair(**bob: object) -> tuple[Handshake, Handshake]:
    return Handshake(ALICE, initiator=True, muxers=["/yamux/1.0.0"]), Handshake(BOB, initiator=False, **bob)  # type: ignore[arg-type]


def _shake(alice: Handshake, bob: Handshake) -> None:
    bob.read(alice.write())
    alice.read(bob.write())
    bob.read(alice.write())


def _sessions() -> tuple[Session, Session]:
    alice, bob = _pair()
    _shake(alice, bob)
    return alice.session(), bob.session()


def _seal(session: Session, *parts: bytes | memoryview) -> bytes:
    out = bytearray(session.sealed_size(parts))
    return bytes(out[: session.seal(parts, memoryview(out))])


def _open(session: Session, sealed: bytes) -> bytes:
    plains, used = session.open(memoryview(sealed), len(sealed))
    assert used == len(sealed)
    return b"".join(plains)


def test_both_know_each_other_after_three_messages() -> None:
    alice, bob = _pair(muxers=["/mplex/6.7.0", "/yamux/1.0.0"])
    assert alice.my_turn
    assert not bob.my_turn
    _shake(alice, bob)
    assert alice.done
    assert bob.done
    assert (alice.peer_id, bob.peer_id) == (BOB.peer_id(), ALICE.peer_id())
    assert alice.remote_key == BOB.public_key
    assert alice.muxers == ("/mplex/6.7.0", "/yamux/1.0.0")
    assert alice.early_muxer() == bob.early_muxer() == "/yamux/1.0.0"


def test_the_initiators_first_common_muxer_is_chosen() -> None:
    alice = Handshake(ALICE, initiator=True, muxers=["/a", "/b", "/c"])
    bob = Handshake(BOB, initiator=False, muxers=["/c", "/b"])
    _shake(alice, bob)
    assert alice.early_muxer() == bob.early_muxer() == "/b"


def test_without_extensions_there_is_no_early_muxer() -> None:
    alice, bob = _pair()
    _shake(alice, bob)
    assert alice.early_muxer() is None
    assert bob.early_muxer() is None


class _Reference:
    """The initiator, written a second time straight from the Noise specification, in the fewest lines."""

    def __init__(self, key: PrivateKey) -> None:
        self.h = self.ck = b"Noise_XX_25519_ChaChaPoly_SHA256"
        self.key, self.n = b"", 0
        self.mix(b"")
        self.identity = key
        self.e, self.s = X25519PrivateKey.generate(), X25519PrivateKey.generate()

    def mix(self, data: bytes) -> bytes:
        self.h = hashlib.sha256(self.h + data).digest()
        return data

    def kdf(self, material: bytes) -> tuple[bytes, bytes]:
        temp = hmac.new(self.ck, material, "sha256").digest()
        one = hmac.new(temp, b"\x01", "sha256").digest()
        return one, hmac.new(temp, one + b"\x02", "sha256").digest()

    def dh(self, own: X25519PrivateKey, remote: bytes) -> None:
        self.ck, self.key = self.kdf(own.exchange(X25519PublicKey.from_public_bytes(remote)))
        self.n = 0

    def nonce(self) -> bytes:
        self.n += 1
        return bytes(4) + (self.n - 1).to_bytes(8, "little")

    def seal(self, data: bytes) -> bytes:
        return self.mix(ChaCha20Poly1305(self.key).encrypt(self.nonce(), data, self.h))

    def open(self, data: bytes) -> bytes:
        plain = ChaCha20Poly1305(self.key).decrypt(self.nonce(), data, self.h)
        self.mix(data)
        return plain

    def first(self) -> bytes:
        out = self.mix(self.e.public_key().public_bytes_raw())
        self.mix(b"")
        return out

    def second(self, message: bytes) -> bytes:
        self.re = self.mix(message[:32])
        self.dh(self.e, self.re)
        self.rs = self.open(message[32:80])
        self.dh(self.e, self.rs)
        return self.open(message[80:])

    def third(self, payload: bytes) -> bytes:
        out = self.seal(self.s.public_key().public_bytes_raw())
        self.dh(self.s, self.re)
        return out + self.seal(payload)

    def payload(self, **changes: bytes) -> bytes:
        signed = b"noise-libp2p-static-key:" + self.s.public_key().public_bytes_raw()
        fields = {"identity_key": self.identity.public_key.encode(), "identity_sig": self.identity.sign(signed)}
        return NoiseHandshakePayload(**{**fields, **changes}).SerializeToString()


def test_against_an_independent_reading_of_the_protocol() -> None:
    reference, bob = _Reference(ALICE), Handshake(BOB, initiator=False, muxers=["/yamux/1.0.0"])
    bob.read(reference.first())
    payload = NoiseHandshakePayload.FromString(reference.second(bob.write()))
    assert payload.identity_key == BOB.public_key.encode()
    assert BOB.public_key.verify(b"noise-libp2p-static-key:" + reference.rs, payload.identity_sig)
    assert payload.extensions == NoiseExtensions(stream_muxers=[b"/yamux/1.0.0"])
    bob.read(reference.third(reference.payload()))
    assert bob.peer_id == ALICE.peer_id()
    first, second = reference.kdf(b"")
    session = bob.session()
    sealed = ChaCha20Poly1305(first).encrypt(bytes(12), b"to bob", None)
    assert _open(session, len(sealed).to_bytes(2, "big") + sealed) == b"to bob"
    for number in range(3):
        frame = _seal(session, b"to alice")
        nonce = bytes(4) + number.to_bytes(8, "little")
        assert ChaCha20Poly1305(second).decrypt(nonce, frame[2:], None) == b"to alice"


@pytest.mark.parametrize("changes", [
    {"identity_sig": bytes(64)},
    {"identity_sig": b""},
    {"identity_key": b""},
    {"identity_key": PrivateKey.generate().public_key.encode()},
    {"identity_key": b"\x08\x01\x12\x20" + b"\x01" + bytes(31)},
])  # fmt: skip
def test_an_identity_that_is_not_proved_is_refused(changes: dict[str, bytes]) -> None:
    reference, bob = _Reference(ALICE), Handshake(BOB, initiator=False)
    bob.read(reference.first())
    reference.second(bob.write())
    with pytest.raises(ProtocolViolation):
        bob.read(reference.third(reference.payload(**changes)))
    with pytest.raises(ValueError, match="not over"):
        bob.session()
    assert not bob.done


def test_the_signature_of_another_handshake_is_refused() -> None:
    old, reference, bob = _Reference(ALICE), _Reference(ALICE), Handshake(BOB, initiator=False)
    bob.read(reference.first())
    reference.second(bob.write())
    with pytest.raises(ProtocolViolation, match="not signed"):
        bob.read(reference.third(old.payload()))


@pytest.mark.parametrize("payload", [b"", b"\xff" * 50, b"\x0a\x05ab"])
def test_a_payload_that_is_none(payload: bytes) -> None:
    reference, bob = _Reference(ALICE), Handshake(BOB, initiator=False)
    bob.read(reference.first())
    reference.second(bob.write())
    with pytest.raises(ProtocolViolation):
        bob.read(reference.third(payload))


def test_another_peer_than_expected_is_refused() -> None:
    alice = Handshake(ALICE, initiator=True, expected=ALICE.peer_id())
    bob = Handshake(BOB, initiator=False)
    bob.read(alice.write())
    with pytest.raises(ProtocolViolation, match="was expected") as caught:
        alice.read(bob.write())
    assert caught.value.peer == str(ALICE.peer_id())


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31), (2**255 - 20).to_bytes(32, "little")])
def test_keys_of_small_order_are_refused(point: bytes) -> None:
    bob = Handshake(BOB, initiator=False)
    bob.read(point)
    with pytest.raises(ProtocolViolation, match="small order"):
        bob.write()
    alice = Handshake(ALICE, initiator=True)
    alice.write()
    with pytest.raises(ProtocolViolation, match="small order"):
        alice.read(point + bytes(200))


@given(st.integers(0, 2), st.data())
def test_any_change_on_the_way_ends_the_handshake(which: int, data: st.DataObject) -> None:
    alice, bob = _pair()
    sides = [(alice, bob), (bob, alice), (alice, bob)]

    def run() -> None:
        for number, (writer, reader) in enumerate(sides):
            message = bytearray(writer.write())
            if number == which:
                at = data.draw(st.integers(0, len(message) - 1))
                message[at] ^= data.draw(st.sampled_from([1, 2, 64, 128]))
            reader.read(message)

    with pytest.raises(ProtocolViolation):
        run()


@pytest.mark.parametrize("size", [0, 31, MAX_HANDSHAKE_MESSAGE + 1])
def test_messages_of_impossible_size(size: int) -> None:
    with pytest.raises(ProtocolViolation, match="bytes"):
        Handshake(BOB, initiator=False).read(bytes(size))


def test_turns_are_kept() -> None:
    alice, bob = _pair()
    with pytest.raises(ValueError, match="turn"):
        bob.write()
    with pytest.raises(ValueError, match="turn"):
        alice.read(bytes(32))
    with pytest.raises(ValueError, match="not over"):
        alice.session()


# --- after the handshake ----------------------------------------------------------------------------------------------
@given(
    st.lists(
        st.integers(0, 200_000).map(lambda size: bytes(range(256)) * (size // 256) + bytes(size % 256)), max_size=5
    )
)
def test_what_is_sealed_opens(parts: list[bytes]) -> None:
    out, into = _sessions()
    sealed = _seal(out, *parts)
    assert _open(into, sealed) == b"".join(parts)
    assert len(sealed) < sum(map(len, parts)) + 18 * (
        2 * len(parts) + sum(map(len, parts)) // NOISE_PLAINTEXT_BYTES + 1
    )


def test_frames_are_cut_at_the_limit_and_small_parts_share_one() -> None:
    out, into = _sessions()
    plains, _used = into.open(memoryview(sealed := _seal(out, *[b"x" * 100] * 10)), len(sealed))
    assert list(map(len, plains)) == [1000]
    plains, _used = into.open(memoryview(sealed := _seal(out, bytes(3 * NOISE_PLAINTEXT_BYTES))), len(sealed))
    assert list(map(len, plains)) == [NOISE_PLAINTEXT_BYTES] * 3


@given(st.data())
def test_partial_frames_wait(data: st.DataObject) -> None:
    out, into = _sessions()
    sealed = _seal(out, b"a" * 9000) + _seal(out, b"b" * 20)
    first = int.from_bytes(sealed[:2], "big") + 2
    have = data.draw(st.integers(0, len(sealed) - 1))
    plains, used = into.open(memoryview(sealed), have)
    assert used == (first if have >= first else 0)
    assert len(plains) == (have >= first)


def test_a_changed_frame_breaks_the_session_for_good() -> None:
    out, into = _sessions()
    good = _seal(out, b"one")
    bad = bytearray(_seal(out, b"two"))
    bad[-1] ^= 1
    assert _open(into, good) == b"one"
    with pytest.raises(ProtocolViolation):
        _open(into, bytes(bad))
    with pytest.raises(ProtocolViolation, match="broken"):
        _open(into, good)


@pytest.mark.parametrize("frame", [b"\x00\x00", b"\x00\x0f" + bytes(15), b"\x00\x10" + bytes(16)])
def test_frames_that_cannot_be_sealed_ones(frame: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        _open(_sessions()[1], frame)


def test_replayed_and_swapped_frames_do_not_open() -> None:
    out, into = _sessions()
    one, two = _seal(out, b"one"), _seal(out, b"two")
    with pytest.raises(ProtocolViolation):
        _open(into, two + one)
    out, into = _sessions()
    one = _seal(out, b"one")
    with pytest.raises(ProtocolViolation):
        _open(into, one + one)


def test_nonces_never_wrap() -> None:
    out, into = _sessions()
    out._out.nonce = into._in.nonce = MAX_NONCE - 1
    assert _open(into, _seal(out, b"last")) == b"last"
    with pytest.raises(ProtocolViolation, match="used up"):
        _seal(out, b"one more")
    with pytest.raises(ProtocolViolation):
        _open(into, bytes.fromhex("0010") + bytes(16))
