"""Discovery driven: names from a real DNS server on loopback, walks, and connections to who was found."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rrset
import pytest
import trio
import trio.testing

from ipfs_kit_py.core import config
from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.errors import InvalidAddress, NotRunning, PeerUnreachable
from ipfs_kit_py.routing.discovery.discovery import Discovery
from ipfs_kit_py.routing.discovery.found import Found
from ipfs_kit_py.routing.discovery.listed import Listed
from ipfs_kit_py.routing.discovery.walk import RandomWalk
from ipfs_kit_py.routing.kad_wire import PeerInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


def peer(n: int) -> PeerID:
    return PeerID(b"\x12\x20" + n.to_bytes(32, "big"))


async def serve_dns(zone: dict[str, list[str]], asked: list[str], *, task_status: trio.TaskStatus[int]) -> None:
    """A DNS server on loopback that has TXT records alone."""
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
        await sock.bind(("127.0.0.1", 0))
        task_status.started(sock.getsockname()[1])
        while True:
            data, client = await sock.recvfrom(4096)
            query = dns.message.from_wire(data)
            answer = dns.message.make_response(query)
            name = query.question[0].name.to_text(omit_final_dot=True)
            asked.append(name)
            texts = [f'"{text}"' for text in zone.get(name, [])]
            if texts:
                answer.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "TXT", *texts))
            await sock.sendto(answer.to_wire(), client)


def expand(monkeypatch: pytest.MonkeyPatch, zone: dict[str, list[str]], *names: str) -> tuple[list[Found], list[str]]:
    found: list[Found] = []
    asked: list[str] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            port: int = await nursery.start(serve_dns, zone, asked)
            resolver = dns.asyncresolver.Resolver(configure=False)
            resolver.nameservers, resolver.port = ["127.0.0.1"], port
            monkeypatch.setattr(dns.asyncresolver, "default_resolver", resolver)
            try:
                await Listed("bootstrap", names).round(found.append)
            finally:
                nursery.cancel_scope.cancel()

    trio.run(main)
    return found, asked


def test_names_below_names_lead_to_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    zone = {
        "_dnsaddr.boot.test": [
            f"dnsaddr=/dnsaddr/a.boot.test/p2p/{peer(1)}", f"dnsaddr=/ip4/10.0.0.2/tcp/2/p2p/{peer(2)}", "v=spf1",
            "dnsaddr=nonsense", "dnsaddr=/ip4/10.0.0.3/tcp/3",
        ],
        "_dnsaddr.a.boot.test": [
            f"dnsaddr=/ip4/10.0.0.1/tcp/1/p2p/{peer(1)}", f"dnsaddr=/ip4/10.9.9.9/tcp/1/p2p/{peer(9)}",
        ],
    }  # fmt: skip
    found, _ = expand(monkeypatch, zone, "/dnsaddr/boot.test")
    assert {(item.peer, item.addresses) for item in found} == {
        (peer(1), ("/ip4/10.0.0.1/tcp/1",)), (peer(2), ("/ip4/10.0.0.2/tcp/2",)),
    }  # fmt: skip


def test_names_in_circles_and_wide_trees_end(monkeypatch: pytest.MonkeyPatch) -> None:
    zone = {"_dnsaddr.loop.test": ["dnsaddr=/dnsaddr/loop.test", f"dnsaddr=/ip4/10.0.0.1/tcp/1/p2p/{peer(1)}"]}
    found, asked = expand(monkeypatch, zone, "/dnsaddr/loop.test")
    assert len(found) == len(asked) == 1
    wide = {f"_dnsaddr.n{n}.test": [f"dnsaddr=/dnsaddr/n{5 * n + k}.test" for k in range(1, 6)] for n in range(400)}
    _, asked = expand(monkeypatch, wide | {"_dnsaddr.n0.test": wide["_dnsaddr.n0.test"]},
                      "/dnsaddr/n0.test", f"/ip4/10.0.0.1/tcp/1/p2p/{peer(1)}")  # fmt: skip
    assert len(asked) == config.DNSADDR_MAX_LOOKUPS
    deep = {f"_dnsaddr.d{n}.test": [f"dnsaddr=/dnsaddr/d{n + 1}.test"] for n in range(30)}
    _, asked = expand(monkeypatch, deep, "/dnsaddr/d0.test")
    assert len(asked) == config.DNSADDR_DEPTH + 1


def test_a_list_of_no_peers_is_refused() -> None:
    with pytest.raises(InvalidAddress, match="names no peer"):
        Listed("static", ["/ip4/10.0.0.1/tcp/1"])


class Net:
    """A network whose peers with even numbers answer."""

    peer_id = peer(0)

    def __init__(self) -> None:
        self.open: dict[PeerID, tuple[str, ...]] = {}
        self.dialled: list[PeerID] = []

    def connected(self) -> set[PeerID]:
        return set(self.open)

    async def connect(self, peer: PeerID, addresses: Iterable[str] = ()) -> None:
        self.dialled.append(peer)
        await trio.sleep(1)
        if peer.raw[-1] % 2:
            raise PeerUnreachable("nobody there", peer=peer)
        self.open[peer] = tuple(addresses)


class Walker:
    def __init__(self, infos: Sequence[PeerInfo]) -> None:
        self.infos = infos
        self.targets: list[bytes] = []

    async def closest_peers(self, key: bytes) -> Sequence[PeerInfo]:
        self.targets.append(key)
        return self.infos


def running(check: Callable[[Discovery, Net, Walker], object], walker: Walker, *, enough: int = 10) -> None:
    async def main() -> None:
        net = Net()
        static = Listed("static", [f"/ip4/10.0.0.2/tcp/1/p2p/{peer(2)}"], local=True)
        walk = RandomWalk(walker, random.Random(1))
        service = Discovery(net, [static, walk], random.Random(1), interval=60.0, enough=enough)  # type: ignore[arg-type]
        with pytest.raises(NotRunning):
            service.start_discovery("here")
        async with trio.open_nursery() as nursery:
            await nursery.start(service.run)
            service.start_discovery("here")
            await trio.sleep(30)
            check(service, net, walker)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_peers_of_all_layers_are_met_and_counted() -> None:
    infos = [PeerInfo(peer(n), (f"/ip4/1.1.1.{n}/tcp/1", "/ip4/10.0.0.1/tcp/1", "junk")) for n in (3, 4)]

    def check(service: Discovery, net: Net, walker: Walker) -> None:
        assert set(net.open) == {peer(2), peer(4)}
        assert net.open[peer(4)] == ("/ip4/1.1.1.4/tcp/1",)  # neither junk nor somebody's private address
        assert b"here" in walker.targets[:2]  # a round may have begun before it was asked for
        static, walk = service.statistics().layers
        assert (static.found > 0, static.reached) == (True, 1)
        assert (walk.found, walk.reached) == (2 * len(walker.targets), 1)

    running(check, Walker(infos))


def test_with_enough_connections_only_local_peers_are_dialled() -> None:
    def check(service: Discovery, net: Net, walker: Walker) -> None:
        assert net.dialled == [peer(2)]

    running(check, Walker([PeerInfo(peer(4), ("/ip4/1.1.1.4/tcp/1",))]), enough=0)


def test_ten_thousand_poisoned_peers_are_bounded_and_hold_up_nobody() -> None:
    poison = [PeerInfo(peer(2 * n + 1001), ("/ip4/1.1.1.1/tcp/1",)) for n in range(10_000)]

    def check(service: Discovery, net: Net, walker: Walker) -> None:
        assert peer(2) in net.open
        assert service.statistics().pending <= config.DISCOVERY_PENDING
        assert service.statistics().dropped > 9_000
        assert len(net.dialled) <= 30 * config.DISCOVERY_DIALS
        assert service.statistics().layers[1].reached == 0

    running(check, Walker(poison))


def test_a_layer_switched_off_finds_nobody() -> None:
    def check(service: Discovery, net: Net, walker: Walker) -> None:
        service.switch("random-walk", False)
        assert [row.enabled for row in service.statistics().layers] == [True, False]
        service._on_found("random-walk", Found(peer(8), ("/ip4/1.1.1.8/tcp/1",)))
        assert service.statistics().pending == 0

    running(check, Walker([]))
