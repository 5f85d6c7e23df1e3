"""Drivers for IPFS implementations that are not ours: Kubo, Helia, py-libp2p. Standard library only."""
