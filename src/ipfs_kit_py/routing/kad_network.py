"""What the DHT needs of the network, beyond what every service does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ipfs_kit_py.core.interfaces import Network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.net.address_book import Known
    from ipfs_kit_py.net.addresses import Scope


class KadNetwork(Network, Protocol):
    """The swarm."""

    def addresses(self) -> list[str]:
        """What this node announces."""
        ...

    def addresses_of(self, peer: PeerID) -> Sequence[Known]:
        """What is known of a peer, the most trusted first."""
        ...

    def add_addresses(self, peer: PeerID, texts: Iterable[str]) -> int:
        """Take down what someone said of a peer."""
        ...

    def reach_of(self, peer: PeerID) -> Scope:
        """From how far away a connected peer talks to us."""
        ...

    def on_identified(self, identified: Callable[[PeerID], None]) -> Callable[[], None]:
        """Call back after a peer has said what it speaks; returns the function that ends it."""
        ...
