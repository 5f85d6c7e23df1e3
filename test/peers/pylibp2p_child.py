"""The child of ``pylibp2p.py``: one py-libp2p host, run by the Python that it is installed in."""

import base64
import importlib.util
import json
import os
import sys
import types

import trio

if importlib.util.find_spec("fastecdsa") is None:

    class Absent(types.ModuleType):
        """What libp2p imports for P-256 keys, which this host does not use: the real one wants a compiler and GMP."""

        def __getattr__(self, name):
            return Absent(name)

    for name in ("fastecdsa", "fastecdsa.encoding", "fastecdsa.encoding.sec1"):
        sys.modules[name] = Absent(name)

from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.host.ping import PingService
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.identify import parse_identify_response
from libp2p.network.stream.exceptions import StreamEOF, StreamError
from libp2p.peer.envelope import consume_envelope
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from multiaddr import Multiaddr

ECHO = "/interop/echo/1.0.0"
CHUNK = 64 * 1024
SECONDS = 100


async def read_all(stream):
    parts = []
    while True:
        try:
            data = await stream.read(CHUNK)
        except StreamEOF:
            break
        if not data:
            break
        parts.append(data)
    return b"".join(parts)


async def echo(stream):
    try:
        while data := await stream.read(CHUNK):
            await stream.write(data)
    except StreamEOF:
        pass
    except StreamError:
        await stream.reset()
        return
    await stream.close_write()


class Operations:
    def __init__(self, host):
        self.host = host
        self.pinger = PingService(host)

    async def connect(self, address):
        await self.host.connect(info_from_p2p_addr(Multiaddr(address)))

    async def disconnect(self, peer):
        await self.host.disconnect(ID.from_string(peer))

    async def peers(self):
        return [str(peer) for peer in self.host.get_connected_peers()]

    async def identify(self, peer):
        stream = await self.host.new_stream(ID.from_string(peer), [IDENTIFY])
        found = parse_identify_response(await read_all(stream))
        await stream.close()
        signed = False
        if found.signedPeerRecord:
            _envelope, record = consume_envelope(found.signedPeerRecord, "libp2p-peer-record")
            signed = str(record.peer_id) == peer
        return {
            "agent": found.agent_version,
            "protocols": list(found.protocols),
            "addresses": [str(Multiaddr(raw)) for raw in found.listen_addrs],
            "observed": str(Multiaddr(found.observed_addr)) if found.observed_addr else None,
            "signed": signed,
        }

    async def ping(self, peer, count):
        return [microseconds / 1e6 for microseconds in await self.pinger.ping(ID.from_string(peer), count)]

    async def exchange(self, peer, protocol, data):
        stream = await self.host.new_stream(ID.from_string(peer), [protocol])
        received = []
        async with trio.open_nursery() as nursery:

            async def receive():
                received.append(await read_all(stream))

            nursery.start_soon(receive)
            await stream.write(base64.b64decode(data))
            await stream.close_write()
        await stream.close()
        return base64.b64encode(received[0]).decode()


async def main():
    replies = os.fdopen(os.dup(1), "w", buffering=1)  # ours alone: the library may print
    os.dup2(2, 1)
    pair = create_new_key_pair()
    listen = [Multiaddr("/ip4/127.0.0.1/tcp/0")]
    noise = Noise(pair, noise_privkey=create_noise_key_pair().private_key)
    host = new_host(key_pair=pair, sec_opt={NOISE: noise}, listen_addrs=listen)
    async with host.run(listen):
        host.set_stream_handler(ECHO, echo)
        operations = Operations(host)
        addresses = [str(address) for address in host.get_addrs()]
        replies.write(json.dumps({"ready": True, "peer_id": str(host.get_id()), "addresses": addresses}) + "\n")
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            request = json.loads(line)
            try:
                with trio.fail_after(SECONDS):
                    answer = {"value": await getattr(operations, request["op"])(*request["args"])}
            except Exception as error:  # noqa: BLE001 - whatever it is, the other side is told
                answer = {"error": repr(error)}
            replies.write(json.dumps(answer) + "\n")
    os._exit(0)


if __name__ == "__main__":
    trio.run(main)
