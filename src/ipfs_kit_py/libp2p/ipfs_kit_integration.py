"""The kit with libp2p: what it has not got is fetched from peers, by a peer that is made when it is needed."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from ipfs_kit_py import ipfs_kit as kit_module

if TYPE_CHECKING:
    from ipfs_kit_py.ipfs_fsspec import IPFSFileSystem
    from ipfs_kit_py.ipfs_kit import ipfs_kit

C = TypeVar("C", bound="type[ipfs_kit]")

_MARK = "_extended_with_libp2p"


def extend_ipfs_kit_class(ipfs_kit_cls: C) -> C:
    """Give a class of kits, ``ipfs_kit`` or one made from it, what libp2p adds; returns the class.

    ``get_filesystem`` then uses libp2p unless told ``use_libp2p=False``, and makes a peer when there is none;
    ``_handle_content_miss_with_libp2p(cid)`` fetches one content from peers. Idempotent, on a class and on one whose
    base was extended already. ``TypeError`` for a class that is no kit.
    """
    if not (isinstance(ipfs_kit_cls, type) and issubclass(ipfs_kit_cls, kit_module.ipfs_kit)):
        raise TypeError(f"{ipfs_kit_cls!r} is no class of kits; give ipfs_kit or one that is made from it")
    if getattr(ipfs_kit_cls, _MARK, False) and "get_filesystem" not in vars(ipfs_kit_cls):
        return ipfs_kit_cls  # it inherits all
    if vars(ipfs_kit_cls).get(_MARK):
        return ipfs_kit_cls
    plain = ipfs_kit_cls.get_filesystem

    @wraps(plain)
    def get_filesystem(self: ipfs_kit, use_libp2p: bool | None = True, **options: Any) -> IPFSFileSystem:
        return plain(self, use_libp2p=use_libp2p, **options)

    ipfs_kit_cls.get_filesystem = get_filesystem  # type: ignore[method-assign]
    setattr(ipfs_kit_cls, "_handle_content_miss_with_libp2p", _handle_content_miss_with_libp2p)  # noqa: B010
    setattr(ipfs_kit_cls, _MARK, True)
    return ipfs_kit_cls


def apply_ipfs_kit_integration() -> type[ipfs_kit]:
    """Extend ``ipfs_kit`` itself; returns the class. Idempotent."""
    return extend_ipfs_kit_class(kit_module.ipfs_kit)


def _handle_content_miss_with_libp2p(self: ipfs_kit, cid: str) -> bytes | None:
    """A content's bytes from peers, kept in the kit's tiers; ``None`` where nobody gave it in time."""
    return self.enable_libp2p().handle_cache_miss(cid)
