"""What this node answers to others of its DHT.

Every answer is bounded, whoever asks; a peer is told addresses that it could use, may provide under its own name alone,
and waits where it has more requests than its share. Source: libp2p/specs kad-dht/README.md (RPC messages).
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import (
    KAD_ANSWER_ADDRESSES,
    KAD_K,
    KAD_PROVIDER_KEY_BYTES,
    KAD_REQUEST_BYTES,
    KAD_SERVER_BURST,
    KAD_SERVER_RATE,
    KAD_STREAM_IDLE_SECONDS,
    KAD_STREAMS_PER_PEER,
)
from ipfs_kit_py.core.errors import InvalidAddress, InvalidCID, InvalidRecord, ProtocolViolation, StreamClosed
from ipfs_kit_py.routing.kad_wire import Message, MessageType, PeerInfo, Record, decode, encode
from ipfs_kit_py.routing.keys import kad_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from ipfs_kit_py.core.interfaces import Stream
    from ipfs_kit_py.routing.kad_network import KadNetwork
    from ipfs_kit_py.routing.kad_side import Side
    from ipfs_kit_py.routing.kbuckets import Table
    from ipfs_kit_py.routing.provider_store import ProviderStore
    from ipfs_kit_py.routing.value_store import ValueStore

logger = logging.getLogger(__name__)

_VIOLATION = 0.25  # standing that a message costs which is none
_RECORD_COST = 0.1  # of a request, what taking down a provider record is: whoever provides much tells it in one go


@dataclass(frozen=True)
class ServerStatistics:
    """``answered`` by kind of message; ``refused``: malformed, forged, in the name of others; ``hurried``: made to
    wait, since their peer had more of them than its share."""

    answered: dict[str, int]
    refused: int
    hurried: int


class _Pace:
    """What one connected peer has left of its requests, and the streams that it has open."""

    __slots__ = ("at", "left", "streams")

    def __init__(self, now: float) -> None:
        self.at, self.left, self.streams = now, KAD_SERVER_BURST, 0

    def take(self, cost: float, now: float) -> float:
        """Seconds to wait before a request is looked at."""
        self.left = min(KAD_SERVER_BURST, self.left + (now - self.at) * KAD_SERVER_RATE) - cost
        self.at = now
        return max(0.0, -self.left / KAD_SERVER_RATE)


def _nothing(_key: bytes) -> bool:
    return False


class KadServer:
    """Answers from a table and the two stores. ``clock`` gives seconds since 1970, ``own`` our addresses."""

    def __init__(
        self, network: KadNetwork, side: Side, table: Table, providers: ProviderStore, values: ValueStore,
        *, clock: Callable[[], float], rng: Random,
    ) -> None:  # fmt: skip
        self._network, self._side, self._table = network, side, table
        self._providers, self._values = providers, values
        self._clock, self._rng = clock, rng
        self.provides: Callable[[bytes], bool] = _nothing  # whether a content is ours to provide, beside the records
        self._paces: dict[PeerID, _Pace] = {}
        self._answered: Counter[str] = Counter()
        self._refused = self._hurried = 0

    def forget(self, peer: PeerID) -> None:
        """A peer has left."""
        pace = self._paces.get(peer)
        if pace is not None and not pace.streams:
            del self._paces[peer]

    async def serve(self, stream: Stream) -> None:
        """Answer the requests of one stream until it ends, one after another."""
        peer = stream.peer_id
        pace = self._paces.setdefault(peer, _Pace(trio.current_time()))
        if pace.streams >= KAD_STREAMS_PER_PEER:
            stream.reset()
            return
        pace.streams += 1
        try:
            while await self._serve_one(stream, pace):
                pass
            await stream.close()
        except ProtocolViolation as error:
            self._refused += 1
            stream.reset()
            self._network.penalise(peer, _VIOLATION, str(error))
        except StreamClosed:
            stream.reset()
        finally:
            pace.streams -= 1
            if not pace.streams and peer not in self._network.connected():
                self._paces.pop(peer, None)

    async def _serve_one(self, stream: Stream, pace: _Pace) -> bool:
        """Whether another may follow."""
        request: Message | None = None
        with trio.move_on_after(KAD_STREAM_IDLE_SECONDS):
            raw = await stream.read_message(KAD_REQUEST_BYTES)
            request = None if raw is None else decode(raw)
        if request is None:
            return False
        pause = pace.take(_RECORD_COST if request.type is MessageType.ADD_PROVIDER else 1.0, trio.current_time())
        if pause:
            self._hurried += 1
            await trio.sleep(pause)
        answer = self.answer(stream.peer_id, request)
        self._answered[request.type.name] += 1
        if answer is None:
            await trio.lowlevel.checkpoint()
            return True
        with trio.move_on_after(KAD_STREAM_IDLE_SECONDS):
            await stream.write_message(encode(answer))
            return True
        raise StreamClosed("an answer was not read in time", peer=stream.peer_id)

    def answer(self, asker: PeerID, request: Message) -> Message | None:
        """The answer to a request; ``None`` for one that has none. ``ProtocolViolation`` for one that is none."""
        match request.type:
            case MessageType.PING:
                return Message(MessageType.PING)
            case MessageType.ADD_PROVIDER:
                self._add_provider(asker, request)
                return None
            case _ if not request.key:
                raise ProtocolViolation(f"a {request.type.name} without a key", peer=asker)
            case MessageType.FIND_NODE:
                return Message(request.type, request.key, closer=self._closer(asker, request.key, exact=True))
            case MessageType.GET_PROVIDERS:
                return self._get_providers(asker, request.key)
            case MessageType.GET_VALUE:
                return self._get_value(asker, request.key)
            case MessageType.PUT_VALUE:
                return self._put_value(asker, request)

    # --- each kind ----------------------------------------------------------------------------------------------------

    def _closer(self, asker: PeerID, key: bytes, *, exact: bool = False) -> tuple[PeerInfo, ...]:
        """The peers of the table that are closest to a key, and (``exact``) the one that the key is, if we know it."""
        me = self._table.me
        near = [info for info in self._table.nearest(kad_key(key), KAD_K + 1) if info.peer != asker]
        told = self._told(asker, near)[:KAD_K]
        if exact and all(info.peer.raw != key for info in told):
            if key == me.raw:
                told = [*self._told(asker, [self.ourselves()]), *told][:KAD_K]
            else:
                told = [*self._told(asker, self._connected(key, asker)), *told][:KAD_K]
        return tuple(told)

    def _connected(self, key: bytes, asker: PeerID) -> list[PeerInfo]:
        """The peer whose id the key is, where we are connected to it and it is not who asks."""
        try:
            peer = PeerID(key)
        except (InvalidAddress, InvalidCID):
            return []
        if peer == asker or peer not in self._network.connected():
            return []
        return [PeerInfo(peer, tuple(known.text for known in self._network.addresses_of(peer)), 1)]

    def ourselves(self) -> PeerInfo:
        """This node, with all of its addresses."""
        return PeerInfo(self._table.me, tuple(self._network.addresses()), 1)

    def _told(self, asker: PeerID, infos: list[PeerInfo]) -> list[PeerInfo]:
        """Peers with the addresses that the asker could use, few of each."""
        cut = self._side.cut(infos, self._network.reach_of(asker))
        return [PeerInfo(info.peer, info.addresses[:KAD_ANSWER_ADDRESSES], info.connection) for info in cut]

    def _get_providers(self, asker: PeerID, key: bytes) -> Message:
        found = self._providers.get(key, trio.current_time(), self._rng) if len(key) <= KAD_PROVIDER_KEY_BYTES else []
        me = self._table.me
        found = [self.ourselves() if info.peer == me else info for info in found]
        if self.provides(key) and all(info.peer != me for info in found):
            found.append(self.ourselves())
        providers = tuple(self._told(asker, found))
        return Message(MessageType.GET_PROVIDERS, key, closer=self._closer(asker, key), providers=providers)

    def _add_provider(self, asker: PeerID, request: Message) -> None:
        if not 2 < len(request.key) <= KAD_PROVIDER_KEY_BYTES:
            raise ProtocolViolation(f"a provider record for a key of {len(request.key)} bytes", peer=asker)
        for info in request.providers:
            if info.peer != asker:
                self._refused += 1
                continue
            told = self._side.usable(info.addresses, self._network.reach_of(asker))
            self._providers.add(request.key, asker, told, trio.current_time())
            self._network.add_addresses(asker, told)

    def _get_value(self, asker: PeerID, key: bytes) -> Message:
        value, record = self._values.get(key, self._clock()), None
        if value is not None:
            at = datetime.fromtimestamp(self._values.received(key) or 0.0, UTC)
            record = Record(key, value, at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
        return Message(MessageType.GET_VALUE, key, record=record, closer=self._closer(asker, key))

    def _put_value(self, asker: PeerID, request: Message) -> Message:
        record = request.record
        if record is None or record.key != request.key:
            raise ProtocolViolation("a PUT_VALUE without a record of its key", peer=asker)
        try:
            self._values.put(record.key, record.value, asker, self._clock())
        except InvalidRecord as error:
            self._refused += 1
            logger.debug("%s put a record that is not kept: %s", asker, error)
            raise StreamClosed(f"a record that is not kept: {error}", peer=asker) from None
        return Message(MessageType.PUT_VALUE, request.key, record=Record(record.key, record.value))

    def statistics(self) -> ServerStatistics:
        """The counts since the start."""
        return ServerStatistics(dict(self._answered), self._refused, self._hurried)

    def __repr__(self) -> str:
        return f"<KadServer {self._side.name}, {sum(self._answered.values())} answered>"
