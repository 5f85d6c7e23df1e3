"""The synchronous face: names, signatures and behaviour that must not move."""

import inspect
import random
import subprocess
import sys
import threading
import time

import pytest

from ipfs_kit_py.core.config import NodeConfig
from ipfs_kit_py.core.errors import (
    ConfigError,
    HashMismatch,
    NodeDied,
    NotRunning,
    NotSupported,
    PeerUnreachable,
    TimedOut,
)
from ipfs_kit_py.libp2p_peer import IPFSLibp2pPeer

NOBODY = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
STRANGER = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"


@pytest.fixture
def pair():
    with IPFSLibp2pPeer() as alice, IPFSLibp2pPeer() as bob:
        assert bob.connect_peer(alice.get_multiaddrs()[0]) is True
        yield alice, bob


def test_the_constructor_is_what_the_contract_says():
    assert str(inspect.signature(IPFSLibp2pPeer.__init__)).replace("'", "").split(" -> ")[0] == (
        "(self, identity_path: str | Path | None = None, bootstrap_peers: Sequence[str] | None = None, "
        'listen_addrs: Sequence[str] | None = None, role: str = "leecher", enable_mdns: bool = True, '
        "enable_hole_punching: bool = False, enable_relay: bool = False, "
        "tiered_storage_manager: TieredCacheManager | LocalStore | None = None, "
        "metadata: dict[str, Any] | None = None, *, "
        "config: NodeConfig | None = None)"
    ).replace('"', "")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("get_peer_id", []),
        ("get_multiaddrs", []),
        ("get_protocols", []),
        ("get_dht_mode", []),
        ("connect_peer", ["addr"]),
        ("disconnect_peer", ["peer_id"]),
        ("is_connected_to", ["peer_id"]),
        ("peers", []),
        ("add_bytes", ["data"]),
        ("store_bytes", ["cid", "data"]),
        ("get_stored_bytes", ["cid"]),
        ("request_content", ["cid", "timeout"]),
        ("request_block", ["cid", "timeout"]),
        ("stream_content", ["cid"]),
        ("receive_streamed_data", ["peer_id", "cid", "callback"]),
        ("stream_data", ["callback"]),
        ("send_message", ["peer_id", "data"]),
        ("on_message", ["handler"]),
        ("register_protocol_handler", ["protocol_id", "handler"]),
        ("open_stream", ["peer_id", "protocol_id"]),
        ("is_relay_enabled", []),
        ("is_hole_punching_enabled", []),
        ("get_stats", []),
        ("close", []),
    ],
)
def test_the_names_stand(name, parameters):
    found = list(inspect.signature(getattr(IPFSLibp2pPeer, name)).parameters)
    assert found[1 : 1 + len(parameters)] == parameters


def test_content_goes_from_peer_to_peer(pair):
    alice, bob = pair
    data = random.Random(5).randbytes(5_000_000)
    cid = alice.add_bytes(data)
    assert bob.get_stored_bytes(cid) is None
    assert bob.request_content(cid, timeout=30) == data
    assert bob.get_stored_bytes(cid) == data
    assert b"".join(bob.stream_content(cid)) == data
    assert alice.request_block(cid) != data  # the root of a file of several blocks
    stats = bob.get_stats()
    assert stats["exchange"]["bytes_received"] >= len(data)
    assert stats["live"] == {"relay": False, "hole_punching": False, "quic": False, "pubsub": False, "mdns": False}


def test_who_is_connected(pair):
    alice, bob = pair
    assert bob.peers() == [alice.get_peer_id()]
    assert bob.is_connected_to(alice.get_peer_id())
    assert not bob.is_connected_to(STRANGER)
    assert all(text.endswith(f"/p2p/{alice.get_peer_id()}") for text in alice.get_multiaddrs())
    assert "/ipfs/bitswap/1.2.0" in alice.get_protocols()
    assert alice.get_dht_mode() == "client"
    assert bob.disconnect_peer(alice.get_peer_id())
    assert bob.peers() == []
    assert not bob.disconnect_peer(alice.get_peer_id())


def test_store_bytes_keeps_what_has_the_cid_and_refuses_the_rest(pair):
    alice, _ = pair
    data = b"x" * 300_000
    with IPFSLibp2pPeer() as other:
        cid = other.add_bytes(data)
    assert alice.store_bytes(cid, data)
    assert alice.get_stored_bytes(cid) == data
    with pytest.raises(HashMismatch, match=cid):
        alice.store_bytes(NOBODY, data)


def test_streamed_data_is_made_on_demand_and_verified(pair):
    alice, bob = pair
    data = b"made on demand " * 100_000
    with IPFSLibp2pPeer() as other:
        cid = other.add_bytes(data)
    asked = []

    def make(wanted):
        asked.append(wanted)
        return [data[:1000], data[1000:]] if wanted == cid else None

    alice.stream_data(make)
    pieces = []
    assert bob.receive_streamed_data(alice.get_peer_id(), cid, pieces.append) == len(data)
    assert b"".join(pieces) == data
    assert asked == [cid]


def test_messages_and_streams(pair):
    alice, bob = pair
    seen = []

    def answer(peer_id, data):
        seen.append((peer_id, alice.get_peer_id()))  # a plain handler may call the face
        return data.upper()

    async def echo(stream):
        await stream.write(await stream.read())
        await stream.close()

    alice.on_message(answer)
    alice.register_protocol_handler("/my/echo/1.0.0", echo)
    assert bob.send_message(alice.get_peer_id(), b"hello") == b"HELLO"
    assert seen == [(bob.get_peer_id(), alice.get_peer_id())]
    with bob.open_stream(alice.get_peer_id(), "/my/echo/1.0.0") as stream:
        stream.write(b"ping")
        stream.close_write()
        assert stream.read() == b"ping"
        assert stream.peer_id == alice.get_peer_id()
    with pytest.raises(NotSupported):
        bob.open_stream(alice.get_peer_id(), "/my/nothing/1.0.0")


def test_a_call_from_a_handler_on_the_loop_raises_instead_of_hanging(pair):
    alice, bob = pair
    caught = []

    async def handler(stream):
        try:
            alice.peers()
        except NotRunning as error:
            caught.append(error)
        await stream.close()

    alice.register_protocol_handler("/my/blocking/1.0.0", handler)
    with bob.open_stream(alice.get_peer_id(), "/my/blocking/1.0.0") as stream:
        stream.close_write()
        assert stream.read() == b""
    assert len(caught) == 1


def test_many_threads_may_call_at_once(pair):
    alice, bob = pair
    contents = [b"%d" % number * 5000 for number in range(16)]
    cids = [alice.add_bytes(content) for content in contents]
    found = {}

    def fetch(number):
        found[number] = bob.request_content(cids[number])

    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(16)] == contents


def test_what_goes_wrong_is_typed(pair):
    _, bob = pair
    with pytest.raises(TimedOut):
        bob.request_content(NOBODY, timeout=0.2)
    with pytest.raises(PeerUnreachable):
        bob.connect_peer(f"/ip4/127.0.0.1/tcp/1/p2p/{STRANGER}")
    with pytest.raises(ConfigError):
        IPFSLibp2pPeer(role="king")


def test_a_closed_peer_says_so():
    peer = IPFSLibp2pPeer()
    peer.close()
    peer.close()
    with pytest.raises(NotRunning):
        peer.add_bytes(b"x")


def test_a_node_that_dies_surfaces_at_the_next_call():
    peer = IPFSLibp2pPeer()
    try:

        async def fail():
            raise RuntimeError("a bug in a service")

        peer._thread.run_sync(peer._node._nursery.start_soon, fail)
        deadline = time.monotonic() + 10
        with pytest.raises(NodeDied):  # noqa: PT012
            while time.monotonic() < deadline:
                peer.peers()
    finally:
        peer.close()


def test_an_identity_file_is_kept(tmp_path):
    with IPFSLibp2pPeer(identity_path=str(tmp_path / "id")) as peer:
        first = peer.get_peer_id()
    with IPFSLibp2pPeer(identity_path=str(tmp_path / "id")) as peer:
        assert peer.get_peer_id() == first


def test_configured_peers_are_dialled():
    with IPFSLibp2pPeer() as alice, IPFSLibp2pPeer(bootstrap_peers=alice.get_multiaddrs()) as bob:
        cid = alice.add_bytes(b"found by itself")
        assert bob.request_content(cid, timeout=20) == b"found by itself"


def test_quic_addresses_are_skipped_with_a_warning(caplog):
    with IPFSLibp2pPeer(listen_addrs=["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic"]) as peer:
        assert len(peer.get_multiaddrs()) == 1
    assert sum("quic" in record.getMessage() for record in caplog.records) == 1


def test_a_program_that_forgets_to_close_ends():
    program = "from ipfs_kit_py.libp2p_peer import IPFSLibp2pPeer as P; p = P(); print(p.get_peer_id())"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("12D3")


def test_no_thread_is_left():
    before = set(threading.enumerate())
    with IPFSLibp2pPeer() as peer:
        peer.add_bytes(b"x")
    left = [thread for thread in set(threading.enumerate()) - before if "ipfs-kit" in thread.name]
    assert not left


def test_arguments_come_before_the_configuration():
    config = NodeConfig(role="worker", listen=())
    with IPFSLibp2pPeer(config=config) as peer:
        assert " worker " in repr(peer)
        assert peer.get_multiaddrs() == []
    with IPFSLibp2pPeer(role="master", listen_addrs=["/ip4/127.0.0.1/tcp/0"], config=config) as peer:
        assert " master " in repr(peer)
        assert len(peer.get_multiaddrs()) == 1
    with pytest.raises(ConfigError, match="role 'king'"):
        IPFSLibp2pPeer(role="king")
