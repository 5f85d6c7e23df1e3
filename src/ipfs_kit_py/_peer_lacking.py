"""The synchronous peer's methods that need services which this version has not got: they say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from ipfs_kit_py.core.errors import NotSupported

if TYPE_CHECKING:
    from collections.abc import Callable

LIVE = {"relay": False, "hole_punching": False, "quic": False, "pubsub": False}


class PeerLacking:
    """Mixed into ``IPFSLibp2pPeer``. What takes effect in a later version raises ``NotSupported``."""

    # --- relays -------------------------------------------------------------------------------------------------------

    def is_relay_enabled(self) -> bool:
        """Whether relaying is on; this version has none."""
        return LIVE["relay"]

    def is_hole_punching_enabled(self) -> bool:
        """Whether hole punching is on; this version has none."""
        return LIVE["hole_punching"]

    def enable_relay(self) -> NoReturn:
        """Relay for others, and be relayed: ``NotSupported``."""
        _lacks("relay", "peers must reach each other directly: listen on an address that they can dial")

    def connect_via_relay(self, peer_id: str, relay_addr: str) -> NoReturn:
        """Connect to a peer through a relay: ``NotSupported``."""
        _lacks("relay", f"connect to an address of {peer_id} itself with connect_peer")

    # --- topics -------------------------------------------------------------------------------------------------------

    def publish_to_topic(self, topic: str, data: bytes) -> NoReturn:
        """Tell all who follow a topic: ``NotSupported``."""
        _lacks("PubSub", "send_message tells one peer at a time")

    def subscribe_to_topic(self, topic: str, handler: Callable[[Any], Any]) -> NoReturn:
        """Follow a topic: ``NotSupported``."""
        _lacks("PubSub", "on_message takes what peers send to this one")

    def unsubscribe_from_topic(self, topic: str, handler: Callable[[Any], Any] | None = None) -> NoReturn:
        """Follow a topic no more: ``NotSupported``."""
        _lacks("PubSub", "there is no subscription to end")

    def get_topic_peers(self, topic: str) -> NoReturn:
        """Who follows a topic: ``NotSupported``."""
        _lacks("PubSub", "peers() lists the connected peers")

    def list_topics(self) -> NoReturn:
        """The topics that are followed: ``NotSupported``."""
        _lacks("PubSub", "there are no topics")


def _lacks(what: str, instead: str) -> NoReturn:
    raise NotSupported(f"this version has no {what}: {instead}; get_stats()['live'] says what there is")
