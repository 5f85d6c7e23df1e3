"""The node's verbs on names and keys. Names need a router, which whoever builds the node hands over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.core.errors import NotRunning, NotSupported
from ipfs_kit_py.crypto.keystore import Keystore
from ipfs_kit_py.node.base import Services
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from ipfs_kit_py.core.cid import CID, PeerID
    from ipfs_kit_py.dag import paths
    from ipfs_kit_py.routing.naming import Naming


class NameVerbs(Services):
    """Keys of the repo, and names published and resolved with them."""

    _naming: Naming | None = None

    @property
    def keystore(self) -> Keystore:
        """The named keys. Its calls block. ``NotSupported`` where the node has no repo to keep them in."""
        if self.config.repo is None:
            raise NotSupported("this node keeps everything in memory: keys need a repo")
        return Keystore(self.config.repo / "keystore", self._key)

    @property
    def naming(self) -> Naming:
        """What publishes and resolves. ``NotRunning`` where the node has no router."""
        if self._naming is None:
            raise NotRunning("this node has no router for names: it takes one that has joined the DHT")
        return self._naming

    def set_naming(self, naming: Naming | None) -> None:
        """Publish and resolve names with this."""
        self._naming = naming

    async def resolve(self, path: str | CID) -> paths.Resolved:
        """Where a path leads; one that begins with a name is led to by its record first."""
        if isinstance(path, str) and path.startswith(("/ipns/", "ipns://")):
            path = await self.naming.resolve(path)
        return await super().resolve(path)

    async def name_publish(self, value: str, *, key: str, lifetime: float, ttl: float) -> PeerID:
        """Point the name of a key to a path; returns the name."""
        naming = self.naming
        chosen = await threads.run(Pool.WORK, self.keystore.find, key) if key != "self" else self._key
        await naming.publish(chosen, value, lifetime=lifetime, ttl=ttl)
        return chosen.peer_id()
