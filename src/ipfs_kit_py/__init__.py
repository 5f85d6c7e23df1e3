"""IPFS Kit: an IPFS node that is a Python library.

The names here are resolved when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipfs_kit_py.core.config import NodeConfig
    from ipfs_kit_py.node import Node, open_node

__all__ = ["Node", "NodeConfig", "open_node"]
__version__ = "1.0.0.dev0"

_HOMES = {"Node": "node", "open_node": "node", "NodeConfig": "core.config"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
