"""Names over a router: published, followed, kept alive, and not fooled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from ipfs_kit_py.core.config import IPNS_CACHE_NAMES, IPNS_LIFETIME_SECONDS, IPNS_REPUBLISH_SECONDS, IPNS_RETRY_SECONDS
from ipfs_kit_py.core.errors import InvalidRecord, NotFound, NotSupported
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.routing.names import Names
from test.net.names import KEY, NAME, OTHER, START, TEXT, Folder, Shelf, clock, kept_by, naming

if TYPE_CHECKING:
    from ipfs_kit_py.routing.naming import Naming


def test_publish_and_resolve_with_a_path_and_through_names() -> None:
    async def play(names: Naming, _shelf: Shelf, _folder: Folder) -> None:
        assert (await names.publish(KEY, "/ipfs/one/a")).sequence == 0
        await names.publish(OTHER, f"/ipns/{TEXT}/b/")
        assert await names.resolve(f"ipns://{ipns.name_text(OTHER.peer_id())}/c/d") == "/ipfs/one/a/b/c/d"
        assert await names.resolve(f"/ipns/{NAME}") == "/ipfs/one/a"
        assert (await names.publish(KEY, "/ipfs/one/a")).sequence == 0
        assert (await names.publish(KEY, "/ipfs/two")).sequence == 1

    naming(play)


def test_names_in_a_ring_end() -> None:
    async def play(names: Naming, _shelf: Shelf, _folder: Folder) -> None:
        await names.publish(KEY, f"/ipns/{TEXT}")
        with pytest.raises(NotFound, match="lead to each other"):
            await names.resolve(TEXT)
        with pytest.raises(NotSupported, match="domain"):
            await names.resolve("/ipns/example.com")

    naming(play)


def test_the_sequence_goes_on_from_what_the_network_has() -> None:
    async def play(names: Naming, shelf: Shelf, _folder: Folder) -> None:
        shelf.values[ipns.record_key(NAME)] = ipns.create(KEY, "/ipfs/far", 41, clock())
        assert (await names.publish(KEY, "/ipfs/new")).sequence == 42

    naming(play)


def test_cache_by_ttl_and_no_replay() -> None:
    async def play(names: Naming, shelf: Shelf, _folder: Folder) -> None:
        key = ipns.record_key(NAME)
        old, new = (ipns.create(KEY, f"/ipfs/{n}", n, clock(), ttl=60) for n in (1, 2))
        shelf.values[key] = new
        for _ in range(3):
            assert await names.resolve(TEXT) == "/ipfs/2"
        assert shelf.asked == 1
        await trio.sleep(61)
        shelf.values[key] = old
        assert await names.resolve(TEXT) == "/ipfs/2"
        assert (shelf.asked, names.statistics().replayed) == (2, 1)
        shelf.values[key] = ipns.create(OTHER, "/ipfs/evil", 99, clock())
        with pytest.raises(InvalidRecord):
            await names.resolve(TEXT, fresh=True)
        await trio.sleep(IPNS_LIFETIME_SECONDS)
        shelf.values[key] = new
        with pytest.raises(InvalidRecord, match="expired"):
            await names.resolve(TEXT)

    naming(play)


def test_republished_every_four_hours_and_after_a_failure_sooner() -> None:
    async def play(names: Naming, shelf: Shelf, folder: Folder) -> None:
        await names.publish(KEY, "/ipfs/one")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(names.run)
            await trio.sleep(IPNS_REPUBLISH_SECONDS + 1)
            assert len(shelf.puts) == 2
            record = ipns.verify(kept_by(folder).raw, NAME, clock())
            assert (record.value, record.sequence) == ("/ipfs/one", 0)
            assert record.expires == START + IPNS_REPUBLISH_SECONDS + IPNS_LIFETIME_SECONDS
            shelf.down = True
            await trio.sleep(IPNS_REPUBLISH_SECONDS + 1)
            shelf.down = False
            await trio.sleep(IPNS_RETRY_SECONDS)
            assert len(shelf.puts) == 3
            names.forget(NAME)
            await trio.sleep(IPNS_REPUBLISH_SECONDS * 2)
            assert len(shelf.puts) == 3
            await names.keep(KEY)
            await trio.sleep(1)
            assert len(shelf.puts) == 4
            nursery.cancel_scope.cancel()

    naming(play)


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert IPNS_CACHE_NAMES > 2
    monkeypatch.setattr("ipfs_kit_py.routing.names.IPNS_CACHE_NAMES", 2)
    names = Names()
    for key in (PrivateKey.generate() for _ in range(5)):
        names.on_record(key.peer_id(), ipns.create(key, "/ipfs/x", 0, START), START)
    assert names.statistics().cached == 2
