"""What the value store may keep: which values of a key are good, and which of several is the newest.

Source: libp2p/specs kad-dht section "Entry validation"; ipfs/specs ipns-record; keys are binary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.errors import InvalidAddress, InvalidCID, InvalidRecord, ProtocolViolation
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.crypto.keys import PublicKey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PK_PREFIX = b"/pk/"


class Validator(Protocol):
    """The rules of one kind of record."""

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        """Raise ``InvalidRecord`` unless ``value`` may be kept under ``key`` at ``now``, seconds since 1970."""
        ...

    def select(self, key: bytes, values: Sequence[bytes]) -> int:
        """The index of the best of values that are all valid; the first of equal ones."""
        ...


class PublicKeyValidator:
    """``/pk/`` and a peer id: its public key, of which there is only one."""

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        """Raise ``InvalidRecord`` unless the value is the key that the peer id is made from."""
        try:
            name = PeerID(key.removeprefix(PK_PREFIX))
            found = PublicKey.decode(value).peer_id()
        except (InvalidAddress, InvalidCID, ProtocolViolation) as error:
            raise InvalidRecord(f"not the record of a public key: {error}") from None
        if not key.startswith(PK_PREFIX) or found != name:
            raise InvalidRecord(f"the public key of {found} under the name of {name}")

    def select(self, key: bytes, values: Sequence[bytes]) -> int:
        """The first: all are the same."""
        return _first_of(values)


class IpnsValidator:
    """``/ipns/`` and a name: the record with the highest sequence, then the latest end."""

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        """Raise ``InvalidRecord`` unless the record is the name's own, signed and not expired."""
        ipns.verify(value, ipns.name_of_key(key), now)

    def select(self, key: bytes, values: Sequence[bytes]) -> int:
        """The newest."""
        _first_of(values)
        name = ipns.name_of_key(key)
        orders = [ipns.read(value, name).order for value in values]
        return orders.index(max(orders))


class Validators:
    """Chooses the rules by what a key begins with. A key that no rule is for may not be stored."""

    def __init__(self, rules: Mapping[bytes, Validator] | None = None) -> None:
        own: dict[bytes, Validator] = {PK_PREFIX: PublicKeyValidator(), ipns.KEY_PREFIX: IpnsValidator()}
        self._rules = own if rules is None else dict(rules)

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        """Raise ``InvalidRecord`` unless ``value`` may be kept under ``key``."""
        self._rule(key).validate(key, value, now)

    def select(self, key: bytes, values: Sequence[bytes]) -> int:
        """The index of the best of valid values; ``InvalidRecord`` where there is none."""
        return self._rule(key).select(key, values)

    def _rule(self, key: bytes) -> Validator:
        for prefix, rule in self._rules.items():
            if key.startswith(prefix):
                return rule
        raise InvalidRecord(f"no records are kept under keys such as {key[:32]!r}")


def _first_of(values: Sequence[bytes]) -> int:
    if not values:
        raise InvalidRecord("no value to choose from")
    return 0
