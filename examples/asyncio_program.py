"""The kit in an asyncio program: its calls block, so they run in threads; several at once.

A program under trio needs no threads: ``async with open_node() as node`` has the same verbs, awaited.
"""

from __future__ import annotations

import asyncio

from ipfs_kit_py.ipfs_kit import ipfs_kit
from ipfs_kit_py.libp2p_peer import IPFSLibp2pPeer


async def main() -> None:
    """Add from many tasks, fetch from many tasks, look for providers without a thread of one's own."""
    with ipfs_kit({"repo": None, "libp2p": True, "role": "worker"}) as kit, IPFSLibp2pPeer() as friend:
        friend.connect_peer(kit.ipfs_id()["Addresses"][0])
        rows = await asyncio.gather(*(asyncio.to_thread(kit.ipfs_add_string, f"text {n}") for n in range(20)))
        cids = [row["Hash"] for row in rows]
        texts = await asyncio.gather(*(asyncio.to_thread(friend.request_content, cid) for cid in cids))
        print(f"{len(texts)} texts fetched at once, the last is {texts[-1].decode()!r}")

        await asyncio.to_thread(kit.ipfs_dht_provide, cids[0])
        providers = await friend.integrate_enhanced_dht_discovery().find_providers_async(cids[0])
        print(f"{cids[0]} is provided by {[provider['peer_id'] for provider in providers]}")


if __name__ == "__main__":
    asyncio.run(main())
