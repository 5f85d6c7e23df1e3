"""The node's verbs on names and keys, and building what they need: names kept in the store, keys in the repo."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from ipfs_kit_py.core.errors import IPFSKitError, NotRunning, NotSupported
from ipfs_kit_py.crypto.keystore import PROTOBUF, SELF, Keystore
from ipfs_kit_py.node.base import Services
from ipfs_kit_py.node.name_records import NoRouter, StoredMarks, StoredRecords
from ipfs_kit_py.routing.naming import Naming
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ipfs_kit_py.core.cid import CID, PeerID
    from ipfs_kit_py.crypto.keys import PrivateKey
    from ipfs_kit_py.crypto.keystore import Renamed
    from ipfs_kit_py.dag import paths
    from ipfs_kit_py.routing.naming import Router
    from ipfs_kit_py.storage.base import LocalStore

logger = logging.getLogger(__name__)


async def build_naming(
    router: Router | None,
    store: LocalStore,
    keystore: Keystore | None,
    clock: Callable[[], float] = time.time,
    *,
    dnslink: Callable[[str], Awaitable[str]] | None = None,
) -> Naming:
    """What a node publishes and follows names with, ready for ``set_naming``; a long-lived node runs its ``run``.

    ``router`` is ``None`` where there is no network: names of ours are then kept here and found here alone.
    ``dnslink`` follows domain names (``routing.dnslink.DnsLink()``). Names that were published before, by any key of
    the keystore, are kept alive. Reads nothing yet.
    """
    records = store.records
    return Naming(
        NoRouter() if router is None else router,
        StoredRecords(records),
        clock,
        marks=StoredMarks(records),
        dnslink=dnslink,
        keys=None if keystore is None else partial(threads.run, Pool.WORK, _keys_of, keystore),
    )


def _keys_of(keystore: Keystore) -> list[PrivateKey]:
    """All that can be read: a file that is no good is told of when it is used, and stops no node."""
    found = []
    try:
        names = keystore.names()
    except OSError as error:
        logger.warning("the keystore cannot be read: %s", error)
        names = []
    for name in (SELF, *names):
        try:
            found.append(keystore.load(name))
        except IPFSKitError as error:
            logger.warning("the names of the key %s are not kept alive: %s", name, error)
    return found


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

    # --- names --------------------------------------------------------------------------------------------------------
    async def name_publish(
        self,
        value: str,
        *,
        key: str = SELF,
        lifetime: float,
        ttl: float | None = None,
        v1: bool = True,
        offline: bool = False,
    ) -> PeerID:
        """Point the name of a key, told by its own name or its peer id, to a path; returns the name. Times in
        seconds. ``offline``: it is enough that the record is kept here; it is published when somebody can be told."""
        naming = self.naming
        chosen = self._key if key == SELF else await threads.run(Pool.WORK, self.keystore.find, key)
        await naming.publish(chosen, value, lifetime=lifetime, ttl=ttl, v1=v1, offline=offline)
        return chosen.peer_id()

    # --- keys ---------------------------------------------------------------------------------------------------------
    async def key_import(self, name: str, secret: bytes, *, form: str = PROTOBUF, any_type: bool = False) -> PrivateKey:
        """Take in a key in one of ``keystore.FORMS``."""
        return await threads.run(Pool.WORK, partial(self.keystore.add, name, secret, form, any_type=any_type))

    async def key_remove(self, name: str) -> PrivateKey:
        """Forget a key for ever. Its name is published no more, and ends when its last record does."""
        key = await threads.run(Pool.WORK, self.keystore.remove, name)
        await self._forget_name_of(key)
        return key

    async def key_rename(self, old: str, new: str, *, force: bool = False) -> Renamed:
        """Give a key another name. One that it replaces, with ``force``, is forgotten for ever."""
        done = await threads.run(Pool.WORK, partial(self.keystore.rename, old, new, force=force))
        if done.replaced is not None:
            await self._forget_name_of(done.replaced)
        return done

    async def _forget_name_of(self, key: PrivateKey) -> None:
        """Unless the key is there under another name."""
        left = await threads.run(Pool.WORK, _keys_of, self.keystore)
        if self._naming is not None and key.peer_id() not in {other.peer_id() for other in left}:
            self._naming.forget(key.peer_id())
