"""Identify messages: what peers tell each other about themselves. Sans-I/O.

Source: libp2p/specs identify/README.md. An answer may come in several messages whose fields are merged as protobuf
merges them; everything in it is capped, and what is malformed is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from ipfs_kit_py.core.config import (
    IDENTIFY_MAX_ADDRESSES,
    IDENTIFY_MAX_MESSAGES,
    IDENTIFY_MAX_PROTOCOLS,
    IDENTIFY_MAX_TEXT,
    IDENTIFY_MESSAGE_BYTES,
)
from ipfs_kit_py.core.errors import InvalidAddress, ProtocolViolation
from ipfs_kit_py.net import addresses
from ipfs_kit_py.net.identify_pb2 import Identify

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

IDENTIFY = "/ipfs/id/1.0.0"
IDENTIFY_PUSH = "/ipfs/id/push/1.0.0"
PROTOCOL_VERSION = "ipfs/0.1.0"

_FRAME_ROOM = 512  # bytes of a message kept free for its other fields and the framing of each


@dataclass(frozen=True)
class Identity:
    """What a peer says of itself. Addresses are multiaddr text without ``/p2p``; ``observed`` is where it sees us.

    ``public_key`` and ``signed_record`` are the bytes as sent, to be checked by whoever uses them.
    """

    protocol_version: str = ""
    agent: str = ""
    public_key: bytes = b""
    addresses: tuple[str, ...] = ()
    observed: str | None = None
    protocols: frozenset[str] = frozenset()
    signed_record: bytes = b""


def encode(identity: Identity) -> list[bytes]:
    """The identity as messages of at most ``IDENTIFY_MESSAGE_BYTES`` each, at most ``IDENTIFY_MAX_MESSAGES``; one where
    it fits, since some peers read no more than one."""
    head = Identify(
        public_key=identity.public_key,
        protocol_version=identity.protocol_version.encode(),
        agent_version=identity.agent.encode(),
        signed_peer_record=identity.signed_record or None,
    )
    if identity.observed is not None:
        head.observed_address = addresses.to_bytes(identity.observed)
    messages, room = [head], IDENTIFY_MESSAGE_BYTES - _FRAME_ROOM - head.ByteSize()
    told = [("listen_addresses", addresses.to_bytes(text)) for text in identity.addresses[:IDENTIFY_MAX_ADDRESSES]]
    told += [("protocols", text.encode()) for text in sorted(identity.protocols)[:IDENTIFY_MAX_PROTOCOLS]]
    for field, value in told:
        size = len(value) + 4
        if size > room:
            messages.append(Identify())
            room = IDENTIFY_MESSAGE_BYTES - _FRAME_ROOM
        getattr(messages[-1], field).append(value)
        room -= size
    return [message.SerializeToString() for message in messages[:IDENTIFY_MAX_MESSAGES]]


def decode(messages: Iterable[Buffer]) -> Identity:
    """The identity that some messages make together. Raises ``ProtocolViolation`` for bytes that are no such message,
    for too many or too large ones."""
    merged = Identify()
    for count, data in enumerate(messages, 1):
        raw = bytes(data)
        if count > IDENTIFY_MAX_MESSAGES or len(raw) > IDENTIFY_MESSAGE_BYTES:
            raise ProtocolViolation(
                f"an identify answer of over {IDENTIFY_MAX_MESSAGES} messages or {IDENTIFY_MESSAGE_BYTES} bytes each"
            )
        try:
            merged.MergeFromString(raw)
        except DecodeError as error:
            raise ProtocolViolation(f"an identify message that is no protobuf: {error}") from None
    protocols = map(_text, merged.protocols[:IDENTIFY_MAX_PROTOCOLS])
    return Identity(
        protocol_version=_text(merged.protocol_version),
        agent=_text(merged.agent_version),
        public_key=merged.public_key,
        addresses=_addresses(merged.listen_addresses[:IDENTIFY_MAX_ADDRESSES]),
        observed=next(iter(_addresses([merged.observed_address])), None),
        protocols=frozenset(text for text in protocols if text),
        signed_record=merged.signed_peer_record,
    )


def merge(old: Identity, pushed: Identity) -> Identity:
    """What is known of a peer after a push, which need not repeat what has not changed."""
    return Identity(
        protocol_version=pushed.protocol_version or old.protocol_version,
        agent=pushed.agent or old.agent,
        public_key=pushed.public_key or old.public_key,
        addresses=pushed.addresses or old.addresses,
        observed=pushed.observed or old.observed,
        protocols=pushed.protocols or old.protocols,
        signed_record=pushed.signed_record or old.signed_record,
    )


def _text(raw: bytes) -> str:
    """The text of a field; ``""`` where it is too long, not UTF-8, or has characters that no terminal should see."""
    if len(raw) > IDENTIFY_MAX_TEXT:
        return ""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""


def _addresses(raws: Iterable[bytes]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for raw in raws:
        try:
            found[addresses.from_bytes(raw).text] = None
        except InvalidAddress:  # a transport that is newer than this node, or nonsense: the others count
            continue
    return tuple(found)
