"""The kit with libp2p, from one end to the other: two nodes in this process, on loopback.

1. set up IPFS Kit with the libp2p integration      2. add content
3. read it as files, with libp2p as the fallback    4. fetch straight from a peer
5. show what was counted
"""

from __future__ import annotations

from ipfs_kit_py.ipfs_kit import ipfs_kit
from ipfs_kit_py.libp2p.ipfs_kit_integration import apply_ipfs_kit_integration
from ipfs_kit_py.libp2p_peer import IPFSLibp2pPeer


def main() -> None:
    """Run the five steps and print what each did."""
    apply_ipfs_kit_integration()
    with ipfs_kit({"repo": None}) as kit, IPFSLibp2pPeer(role="worker") as friend:
        fs = kit.get_filesystem(use_libp2p=True)
        kit.ipfs_swarm_connect(friend.get_multiaddrs()[0])
        print(f"1. the kit has a peer: {kit.libp2p_peer.get_peer_id()}, connected to {friend.get_peer_id()}")

        mine = kit.ipfs_add_string("Hello, IPFS Kit with LibP2P integration!")["Hash"]
        theirs = friend.add_bytes(b"This is only with the friend. " * 50_000)
        print(f"2. the kit added {mine}, the friend {theirs}")

        print(f"3. through the filesystem: {fs.cat(mine).decode()!r} from the kit's own tiers,")
        print(f"   and {len(fs.cat(theirs)):,} bytes that only the friend had, by libp2p")

        direct = friend.request_content(mine)
        print(f"4. the friend fetched {direct.decode()!r} straight from the kit")

        stats = kit.libp2p_integration.get_stats()
        print(f"5. cache misses: {stats['cache_misses']}, handled: {stats['cache_misses_handled']}")
        print(f"   success rate: {stats['success_rate']:.2f}")
        print(f"   average retrieval time: {stats['average_retrieve_time']:.3f} s")
        print(f"   total bytes retrieved: {stats['total_bytes_retrieved']:,}")
        print(f"   providers found: {stats['discovery_metrics']['providers_found']}")


if __name__ == "__main__":
    main()
