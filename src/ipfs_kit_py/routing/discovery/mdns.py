"""One network link as mDNS sees it: when to ask, when to answer, whom to believe. Sans-I/O.

Nothing that comes over mDNS is signed, and senders can be made up: so nobody loses standing by it, all answers go to
the link's multicast group (a question cannot be aimed at a third), and an address counts only if it is on the link.
Source: libp2p/specs discovery/mdns.md; RFC 6762 sections 6, 8.3, 10.1 and 11.
"""

from __future__ import annotations

import ipaddress
import string
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from ipfs_kit_py.core.config import (
    MDNS_ANNOUNCEMENTS,
    MDNS_ANSWER_DELAY,
    MDNS_ANSWER_SECONDS,
    MDNS_BURST,
    MDNS_MAX_ADDRESSES,
    MDNS_MAX_PEERS,
    MDNS_MAX_PEERS_PER_SOURCE,
    MDNS_MAX_SOURCES,
    MDNS_PER_LINK,
    MDNS_PER_SOURCE,
    MDNS_TTL_MAX_SECONDS,
    MDNS_TTL_SECONDS,
)
from ipfs_kit_py.core.errors import InvalidAddress, InvalidCID, ProtocolViolation
from ipfs_kit_py.net import addresses
from ipfs_kit_py.routing.discovery import mdns_wire as wire
from ipfs_kit_py.routing.discovery.found import Found

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfs_kit_py.core.cid import PeerID

_PREFIX = b"dnsaddr="
_LETTERS = string.ascii_lowercase + string.digits
_LABEL = 40  # characters of the random name; the spec wants 32 or more, DNS 63 or fewer


class Chance(Protocol):
    """As much of ``random.Random`` as is needed here."""

    def uniform(self, a: float, b: float) -> float: ...
    def choices(self, population: str, *, k: int) -> list[str]: ...


@dataclass(frozen=True)
class MdnsStatistics:
    """Counts of messages since the start. ``limited`` came too fast, ``foreign`` from another network or with
    addresses of one, ``invalid`` could not be read; ``peers`` are remembered now."""

    queries: int = 0
    answers: int = 0
    received: int = 0
    limited: int = 0
    foreign: int = 0
    invalid: int = 0
    found: int = 0
    peers: int = 0


class _Bucket:
    """Tokens that come back at ``rate`` a second."""

    __slots__ = ("at", "rate", "tokens")

    def __init__(self, rate: float, now: float) -> None:
        self.rate, self.tokens, self.at = rate, rate * MDNS_BURST, now

    def take(self, now: float) -> bool:
        self.tokens = min(self.rate * MDNS_BURST, self.tokens + self.rate * max(0.0, now - self.at))
        self.at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


class Mdns:
    """The engine of one link. ``interface`` is this node's address there with its network."""

    def __init__(self, me: PeerID, interface: addresses.IPInterface, rng: Chance, now: float) -> None:
        self.interface = interface
        self._me = me
        self._rng = rng
        self._name: wire.Name = ("".join(rng.choices(_LETTERS, k=_LABEL)).encode(), *wire.SERVICE)
        self._texts: tuple[bytes, ...] = ()
        self._port = 0
        self._ask = False
        self._answer_at: float | None = None
        self._meta_at: float | None = None
        self._answered = self._meta_answered = float("-inf")
        self._announce = 0
        self._all = _Bucket(MDNS_PER_LINK, now)
        self._sources: OrderedDict[str, _Bucket] = OrderedDict()
        self._known: OrderedDict[tuple[str, bytes], tuple[float, tuple[str, ...]]] = OrderedDict()
        self._found: list[Found] = []
        self._count = MdnsStatistics()

    # --- what we say --------------------------------------------------------------------------------------------------

    def set_addresses(self, texts: Iterable[str], now: float) -> None:
        """Where this node listens. Those on the link are announced when they change; without any it stays silent."""
        here = self._on_link(texts)
        found = [f"{text}/p2p/{self._me}".encode() for text in here]
        mine = tuple(_PREFIX + text for text in found if len(_PREFIX + text) <= wire.TEXT_BYTES)
        if mine and mine != self._texts:
            self._announce = MDNS_ANNOUNCEMENTS
            self._plan_answer(now)
        self._texts = mine
        ports = (value for text in here for kind, value in addresses.parse(text).parts if kind in ("tcp", "udp"))
        self._port = int(next(ports, "0"))

    def ask(self) -> None:
        """Ask the link for peers with the next datagrams."""
        self._ask = True

    def take_datagrams(self, now: float) -> list[bytes]:
        """What to send to the link's multicast group now."""
        out = []
        if self._ask:
            self._ask = False
            out.append(wire.encode_query())
            self._bump(queries=1)
        if self._answer_at is not None and now >= self._answer_at:
            self._answer_at = None
            if self._texts:
                out.append(self._encoded(MDNS_TTL_SECONDS))
                self._answered = now
                self._bump(answers=1)
                self._announce = max(0, self._announce - 1)
                if self._announce:
                    self._plan_answer(now)
        if self._meta_at is not None and now >= self._meta_at:
            self._meta_at, self._meta_answered = None, now
            out.append(wire.encode_meta_answer(MDNS_TTL_SECONDS))
            self._bump(answers=1)
        return out

    def farewell(self) -> list[bytes]:
        """What to send at the end: that nobody need remember us."""
        return [self._encoded(0)] if self._texts else []

    def deadline(self) -> float | None:
        """When ``take_datagrams`` has something next; ``None`` while nothing is planned. Seconds, as ``now``."""
        if self._ask:
            return float("-inf")
        return min((at for at in (self._answer_at, self._meta_at) if at is not None), default=None)

    def _encoded(self, ttl: int) -> bytes:
        return wire.encode_answer(self._name, self._texts, ttl, ip=self.interface.ip.packed, port=self._port)

    # --- what we hear -------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, source: str, now: float) -> None:
        """A datagram from IP ``source``. Never raises for what it holds."""
        self._bump(received=1)
        ip = ipaddress.ip_address(source)
        if ip.version != self.interface.version or ip not in self.interface.network:
            self._bump(foreign=1)
        elif not self._within_rate(source, now):
            self._bump(limited=1)
        else:
            try:
                message = wire.decode(data)
            except ProtocolViolation:
                self._bump(invalid=1)
                return
            if isinstance(message, wire.Query):
                self._on_query(message, now)
            elif message is not None:
                for name, instance in message.instances.items():
                    if name != self._name:
                        self._on_instance(instance, source, now)

    def take_found(self) -> list[Found]:
        """Peers that are new, or have other addresses, since the last call."""
        found, self._found = self._found, []
        return found

    def statistics(self) -> MdnsStatistics:
        return replace(self._count, peers=len(self._known))

    def _on_query(self, query: wire.Query, now: float) -> None:
        if not self._texts:
            return
        if query.service and self._name not in query.known:
            self._plan_answer(now)
        if query.meta and self._meta_at is None:
            self._meta_at = max(now + self._rng.uniform(*MDNS_ANSWER_DELAY), self._meta_answered + MDNS_ANSWER_SECONDS)

    def _plan_answer(self, now: float) -> None:
        if self._answer_at is None:
            wait = self._rng.uniform(*MDNS_ANSWER_DELAY)
            self._answer_at = max(now + wait, self._answered + MDNS_ANSWER_SECONDS)

    def _on_instance(self, instance: wire.Instance, source: str, now: float) -> None:
        told = self._read(instance.texts)
        if told is None or told.peer == self._me:
            return
        key = (source, told.peer.raw)
        expires, before = self._known.get(key, (0.0, ()))
        if instance.ttl == 0:
            self._known.pop(key, None)
            return
        if key not in self._known and not self._has_room(source, now):
            self._bump(limited=1)
            return
        self._known[key] = (now + min(instance.ttl, MDNS_TTL_MAX_SECONDS), told.addresses)
        self._known.move_to_end(key)
        if now >= expires or before != told.addresses:
            self._bump(found=1)
            self._found = [*self._found[-MDNS_MAX_PEERS + 1 :], told]

    def _read(self, texts: tuple[bytes, ...]) -> Found | None:
        """The one peer that the texts are about, with its addresses on this link."""
        by_peer: dict[PeerID, list[str]] = {}
        for text in texts:
            if not text.startswith(_PREFIX):
                continue
            try:
                address = addresses.parse(text[len(_PREFIX) :].decode("ascii"))
            except (InvalidAddress, InvalidCID, UnicodeDecodeError):
                self._bump(invalid=1)
                continue
            if address.peer is not None:
                by_peer.setdefault(address.peer, []).append(address.text)
        if len(by_peer) != 1:
            return None
        peer, told = by_peer.popitem()
        kept = self._on_link(told)
        if len(kept) < len(told):
            self._bump(foreign=1)
        return Found(peer, tuple(kept[:MDNS_MAX_ADDRESSES])) if kept else None

    def _on_link(self, texts: Iterable[str]) -> list[str]:
        """Those addresses that this link leads to. Through a relay they lead elsewhere."""
        found: dict[str, None] = {}
        for text in texts:
            address = addresses.parse(text)
            ip = address.ip
            relayed = any(protocol == "p2p-circuit" for protocol, _ in address.parts)
            if ip is not None and ip.version == self.interface.version and not relayed:
                network = self.interface.network
                if ip in network and ip not in (network.network_address, network.broadcast_address):
                    found[address.text] = None
        return list(found)

    def _has_room(self, source: str, now: float) -> bool:
        for key in [key for key, (expires, _) in self._known.items() if now >= expires]:
            del self._known[key]
        mine = sum(1 for other, _ in self._known if other == source)
        return mine < MDNS_MAX_PEERS_PER_SOURCE and len(self._known) < MDNS_MAX_PEERS

    def _within_rate(self, source: str, now: float) -> bool:
        bucket = self._sources.pop(source, None) or _Bucket(MDNS_PER_SOURCE, now)
        self._sources[source] = bucket
        if len(self._sources) > MDNS_MAX_SOURCES:
            self._sources.popitem(last=False)
        return bucket.take(now) and self._all.take(now)

    def _bump(self, **by: int) -> None:
        self._count = replace(self._count, **{name: getattr(self._count, name) + n for name, n in by.items()})

    def __repr__(self) -> str:
        return f"<Mdns on {self.interface}: {len(self._known)} peers>"
