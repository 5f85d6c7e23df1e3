"""The synchronous faces of discovery and content routing, over a running ``IPFSLibp2pPeer``."""
