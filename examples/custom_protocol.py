"""A protocol of your own between two peers: one word counts as a request, its length is the answer.

The handler is async and runs on the node's loop; the other side talks to it from a plain thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.libp2p_peer import IPFSLibp2pPeer

if TYPE_CHECKING:
    from ipfs_kit_py.core.interfaces import Stream

PROTOCOL = "/example/length/1.0.0"


async def answer(stream: Stream) -> None:
    """Read until the other side has said all, answer, close."""
    word = await stream.read()
    await stream.write(f"{word.decode()} has {len(word)} bytes".encode())
    await stream.close()


def main() -> None:
    """Serve on one peer, ask from another."""
    with IPFSLibp2pPeer() as server, IPFSLibp2pPeer() as client:
        server.register_protocol_handler(PROTOCOL, answer)
        client.connect_peer(server.get_multiaddrs()[0])
        with client.open_stream(server.get_peer_id(), PROTOCOL) as stream:
            stream.write(b"multiaddr")
            stream.close_write()
            print(f"{stream.peer_id} says: {stream.read(timeout=10).decode()}")


if __name__ == "__main__":
    main()
