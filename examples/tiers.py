"""A cache in tiers: memory over a folder on the disk, shared by a peer that serves what it holds.

Remote tiers (a Kubo daemon, gateways, a cluster, Storacha, Filecoin) are tables in ``tiers``; see docs/tiers.md.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from ipfs_kit_py.libp2p_peer import IPFSLibp2pPeer
from ipfs_kit_py.tiered_cache import TieredCacheManager


def main(folder: Path) -> None:
    """Put, read hot and cold, move, and look at the tiers."""
    settings = {
        "memory_cache_size": 16 << 20,
        "local_cache_size": 1 << 30,
        "local_cache_path": str(folder),
        "tiers": [],
    }
    with TieredCacheManager(settings) as cache, IPFSLibp2pPeer(tiered_storage_manager=cache) as peer:
        cid = peer.add_bytes(b"some content " * 100_000)
        for _ in range(3):
            cache.get(cid)
        print(f"{cid} was used {cache.heat(cid):.1f} times of late")
        print(f"down to the disk: {cache.demote(cid, 'disk')['blocks']} blocks")
        print(f"up to memory: {cache.promote(cid, 'memory')['blocks']} blocks")
        for tier in cache.get_stats()["tiers"]:
            print(f"{tier['name']}: {tier['hits']} hits, {tier['bytes']:,} bytes in {tier['blocks']} blocks")
        print(f"hashed again: {cache.verify()['checked']} blocks, all whole")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
