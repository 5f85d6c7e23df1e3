from __future__ import annotations

import pytest
import trio

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import DIAL_RESOLVE_DEPTH, DIAL_RESOLVE_MAX
from ipfs_kit_py.core.errors import PeerUnreachable
from ipfs_kit_py.net.addresses import parse
from ipfs_kit_py.net.resolver import DnsResolver
from test.engine.test_address_book import peer

THEM = PeerID.parse("12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA")


class Zone:
    """Records of names; asks are counted."""

    def __init__(self, hosts: dict[str, list[str]] | None = None, texts: dict[str, list[str]] | None = None) -> None:
        self._hosts, self._texts, self.asked = hosts or {}, texts or {}, 0

    async def hosts(self, host: str, _family: int) -> list[str]:
        self.asked += 1
        if host not in self._hosts:
            raise OSError(f"{host} does not exist")
        return self._hosts[host]

    async def texts(self, name: str) -> list[str]:
        self.asked += 1
        if name not in self._texts:
            raise OSError(f"{name} does not exist")
        return self._texts[name]

    def resolve(self, text: str) -> list[str]:
        async def scenario() -> list[str]:
            return await DnsResolver(self.hosts, self.texts).resolve(parse(text), THEM)

        return trio.run(scenario)


def test_a_host_leads_to_all_its_addresses_with_the_rest_kept() -> None:
    zone = Zone({"a.example": ["8.8.8.8", "2a00::1"]})
    assert zone.resolve("/dns/a.example/tcp/4001") == ["/ip4/8.8.8.8/tcp/4001", "/ip6/2a00::1/tcp/4001"]
    assert zone.resolve("/dns/a.example/tcp/443/tls/ws")[0] == "/ip4/8.8.8.8/tcp/443/tls/ws"


def test_dnsaddr_records_of_other_peers_and_other_txt_records_are_left_out() -> None:
    texts = [
        f"dnsaddr=/ip4/8.8.8.8/tcp/4001/p2p/{THEM}",
        f"dnsaddr=/ip4/8.8.4.4/tcp/4001/p2p/{peer(1)}",
        "v=spf1 -all",
        "dnsaddr=nonsense",
        "dnsaddr=/dns4/a.example/tcp/4001",
    ]
    zone = Zone({"a.example": ["9.9.9.9"]}, {"_dnsaddr.example.org": texts})
    assert zone.resolve("/dnsaddr/example.org") == ["/ip4/8.8.8.8/tcp/4001", "/ip4/9.9.9.9/tcp/4001"]


def test_records_that_lead_in_a_circle_or_fan_out_end() -> None:
    circle = Zone(texts={"_dnsaddr.a": ["dnsaddr=/dnsaddr/b"], "_dnsaddr.b": ["dnsaddr=/dnsaddr/a"]})
    with pytest.raises(PeerUnreachable, match="leads to no address"):
        circle.resolve("/dnsaddr/a")
    assert circle.asked == DIAL_RESOLVE_DEPTH
    fan = Zone(texts={"_dnsaddr.a": ["dnsaddr=/dnsaddr/a"] * 1000})
    with pytest.raises(PeerUnreachable):
        fan.resolve("/dnsaddr/a")
    assert fan.asked <= 1 + DIAL_RESOLVE_MAX * DIAL_RESOLVE_DEPTH
    many = Zone({"a.example": [f"8.8.{n // 250}.{n % 250}" for n in range(1000)]})
    assert len(many.resolve("/dns4/a.example/tcp/1")) == DIAL_RESOLVE_MAX


def test_a_name_that_does_not_exist_is_a_typed_error() -> None:
    with pytest.raises(PeerUnreachable, match="does not exist"):
        Zone().resolve("/dns4/none.example/tcp/1")
    with pytest.raises(PeerUnreachable, match="does not exist"):
        Zone().resolve("/dnsaddr/none.example")


def test_the_systems_resolver_is_used() -> None:
    async def scenario() -> list[str]:
        return await DnsResolver().resolve(parse("/dns4/localhost/tcp/4001"), THEM)

    assert trio.run(scenario) == ["/ip4/127.0.0.1/tcp/4001"]
