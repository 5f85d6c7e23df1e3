"""Every error that the package raises.

    IPFSKitError
    ├── LocalError                 our side: the caller can mend it
    │   ├── InvalidCID             also a ValueError
    │   ├── InvalidAddress         also a ValueError
    │   ├── InvalidBlock           also a ValueError: bytes that are no valid block of their codec
    │   ├── InvalidName            also a ValueError: a name that no directory entry may have
    │   ├── InvalidRecord          also a ValueError: a record of a name or key that may not be used
    │   ├── NotAFile               a directory, link or value where a file was expected
    │   ├── TooLarge               content that has more bytes than its caller allows
    │   ├── ConfigError
    │   ├── NotRunning
    │   └── NotSupported
    ├── PeerError                  a remote peer's side; carries ``peer``
    │   ├── ProtocolViolation
    │   ├── HashMismatch
    │   ├── StreamClosed           reset, or closed in the middle
    │   └── PeerUnreachable
    ├── NotFound                   carries ``cid``
    ├── TimedOut                   also a TimeoutError
    ├── StorageError
    │   ├── QuotaExceeded
    │   ├── BlockLeased            carries ``cids``: what cannot be deleted now
    │   ├── LeaseLost
    │   └── BackendError
    └── NodeDied

A message says what failed, on what (CID, peer, path), and what the user can do. Foreign exceptions are mapped where
they enter and never leak.
"""

from __future__ import annotations


class IPFSKitError(Exception):
    """The root of the tree."""


class LocalError(IPFSKitError):
    """A mistake on our side of the wire."""


class InvalidCID(LocalError, ValueError):
    """Text or bytes that are no CID, or a CID whose hash function is not allowed."""


class InvalidAddress(LocalError, ValueError):
    """Text that is no multiaddr or peer id, or one that this node cannot use."""


class InvalidBlock(LocalError, ValueError):
    """Bytes that are no valid block of their codec."""


class InvalidName(LocalError, ValueError):
    """A name that no directory entry may have, or that its directory has already."""


class InvalidRecord(LocalError, ValueError):
    """A record of a name or key that may not be used: malformed, forged, expired or too large."""


class NotAFile(LocalError):
    """Content that is not of the kind that was asked for: a directory, link or value where a file was expected."""


class TooLarge(LocalError):
    """Content that has more bytes than whoever asks for it allows."""


class ConfigError(LocalError):
    """A configuration value that cannot be used."""


class NotRunning(LocalError):
    """A call on something that was not started or is closed."""


class NotSupported(LocalError):
    """A feature that this node does not have, or that is switched off."""


class PeerError(IPFSKitError):
    """Something that a remote peer did or failed to do. ``peer`` is its id as text, or ``None`` before it is known."""

    def __init__(self, message: str, *, peer: object = None) -> None:
        super().__init__(message)
        self.peer = None if peer is None else str(peer)


class ProtocolViolation(PeerError):
    """A peer sent what its protocol does not allow."""


class HashMismatch(PeerError):
    """Bytes do not have the hash that their CID names. ``expected`` and ``actual`` are CIDs where known."""

    def __init__(self, message: str, *, peer: object = None, expected: object = None, actual: object = None) -> None:
        super().__init__(message, peer=peer)
        self.expected = expected
        self.actual = actual


class StreamClosed(PeerError):
    """A stream or its connection was reset, or ended before the expected bytes came."""


class PeerUnreachable(PeerError):
    """No address of a peer could be dialled."""


class NotFound(IPFSKitError):
    """Content, a path segment or a provider that could not be found. ``cid`` is the missing CID where there is one."""

    def __init__(self, message: str, *, cid: object = None) -> None:
        super().__init__(message)
        self.cid = cid


class TimedOut(IPFSKitError, TimeoutError):
    """A deadline passed."""


class StorageError(IPFSKitError):
    """A store could not do what it was asked for."""


class QuotaExceeded(StorageError):
    """The configured size of a store, or the disk, is used up."""


class BlockLeased(StorageError):
    """Blocks in ``cids`` were not deleted: somebody reads them in place, for as long as a lease may last at most."""

    def __init__(self, message: str, cids: tuple[object, ...] = ()) -> None:
        super().__init__(message)
        self.cids = cids


class LeaseLost(StorageError):
    """A lease ended before its use did: what was read in place since then may be other bytes."""


class BackendError(StorageError):
    """The database or service under a store failed."""


class NodeDied(IPFSKitError):
    """The node behind a synchronous face ended; the cause is chained."""
