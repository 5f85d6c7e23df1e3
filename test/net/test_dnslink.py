"""Domain names as names, from a real DNS server on loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.asyncresolver
import pytest
import trio

from ipfs_kit_py.core.config import DNS_NAME_CHARS, DNSLINK_MAX_RECORDS, IPNS_MAX_DEPTH
from ipfs_kit_py.core.errors import InvalidAddress, NotFound
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.routing.dnslink import DnsLink
from ipfs_kit_py.routing.naming import Naming
from test.net.names import Folder, Shelf
from test.net.test_discovery import serve_dns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

KEY = PrivateKey.generate()
TEXT = ipns.name_text(KEY.peer_id())
NOW = 1_800_000_000.0


def with_zone(
    monkeypatch: pytest.MonkeyPatch, zone: dict[str, list[str]], play: Callable[[Naming], Awaitable[None]]
) -> list[str]:
    """``play`` with names over that zone; returns what was asked for."""
    asked: list[str] = []

    async def main() -> None:
        shelf = Shelf()
        shelf.values[ipns.record_key(KEY.peer_id())] = ipns.create(KEY, "/ipns/below.test/deep", 0, NOW)
        async with trio.open_nursery() as nursery:
            port: int = await nursery.start(serve_dns, zone, asked)
            resolver = dns.asyncresolver.Resolver(configure=False)
            resolver.nameservers, resolver.port = ["127.0.0.1"], port
            monkeypatch.setattr(dns.asyncresolver, "default_resolver", resolver)
            try:
                await play(Naming(shelf, Folder(), lambda: NOW, dnslink=DnsLink()))
            finally:
                nursery.cancel_scope.cancel()

    trio.run(main)
    return asked


def test_domain_names_and_keys_lead_to_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    zone = {
        "_dnslink.site.test": ["v=spf1", "dnslink=", "dnslink=/http/x", f"dnslink=/ipns/{TEXT}/a"],
        "_dnslink.below.test": ["dnslink=/ipfs/bafkqaaa/b"],
        "old.test": ["dnslink=/ipfs/bafkqaaa/old"],
        "_dnslink.two.test": ["dnslink=/ipfs/bafkqaaa/2", "dnslink=/ipfs/bafkqaaa/1"],
    }

    async def play(names: Naming) -> None:
        assert await names.resolve("/ipns/Site.TEST/c") == "/ipfs/bafkqaaa/b/deep/a/c"
        assert await names.resolve("ipns://old.test") == "/ipfs/bafkqaaa/old"
        assert await names.resolve("two.test") == "/ipfs/bafkqaaa/1"
        assert await names.resolve("site.test", recursive=False) == f"/ipns/{TEXT}/a"
        for missing in ("none.test", "/ipns/none.test/x"):
            with pytest.raises(NotFound, match="has no DNSLink"):
                await names.resolve(missing)

    asked = with_zone(monkeypatch, zone, play)
    assert asked[:2] == ["_dnslink.site.test", "_dnslink.below.test"]


def test_names_in_circles_and_many_records_end(monkeypatch: pytest.MonkeyPatch) -> None:
    zone = {"_dnslink.a.test": ["dnslink=/ipns/b.test"], "_dnslink.b.test": ["dnslink=/ipns/a.test/x"]}

    async def play(names: Naming) -> None:
        with pytest.raises(NotFound, match="lead to each other"):
            await names.resolve("a.test")

    assert len(with_zone(monkeypatch, zone, play)) == IPNS_MAX_DEPTH


def test_records_and_names_are_bounded() -> None:
    async def texts(_name: str) -> list[str]:
        return ["v=spf1"] * DNSLINK_MAX_RECORDS + ["dnslink=/ipfs/bafkqaaa"]

    async def main() -> None:
        with pytest.raises(NotFound, match="only other TXT records"):
            await DnsLink(texts)("many.test")
        for name in ("a." + "x" * DNS_NAME_CHARS, "a b.test", "a\x00.test", "", "."):
            with pytest.raises(InvalidAddress):
                await DnsLink(texts)(name)

    trio.run(main)
