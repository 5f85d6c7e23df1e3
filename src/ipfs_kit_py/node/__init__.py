"""The node: ``open_node`` builds and wires the services, ``Node`` has the verbs."""

from ipfs_kit_py.node.assembly import open_node
from ipfs_kit_py.node.node import Node

__all__ = ["Node", "open_node"]
