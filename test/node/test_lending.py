"""A node without a network that fetches through another node's."""

import functools
import random

import pytest
import trio
import trio.testing

from ipfs_kit_py import NodeConfig, open_node
from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.errors import LocalError, NotFound, NotRunning
from ipfs_kit_py.node.lending import LentExchange

DATA = random.Random(8).randbytes(3_000_000)
NOBODY_HAS = CID.of(b"nobody has this")


def borrowing(*, keep=True, tiers=()):
    """Run a test with a borrower, the node that lends it its network, a third that is connected to the lender, and the
    reads that were told."""

    def decorate(test):
        @functools.wraps(test)
        def run():
            async def main():
                with trio.fail_after(60):
                    async with (
                        open_node(NodeConfig(libp2p=False, tiers=tiers)) as borrower,
                        open_node() as lender,
                        open_node() as third,
                    ):
                        reads = []
                        lent = LentExchange(
                            lender.exchange,
                            lender=lender.store,
                            store=borrower.store if keep else None,
                            on_read=reads.append,
                        )
                        borrower.borrow(lent)
                        lender.exchange.serve_also(borrower.store)
                        await lender.connect(third.addresses()[0])
                        await test(borrower, lender, third, lent, reads)

            trio.run(main)

        del run.__wrapped__
        return run

    return decorate


@borrowing()
async def test_what_is_missing_comes_from_the_lenders_peers_and_stays(borrower, lender, third, lent, reads):
    cid = await third.add_bytes(DATA)
    with lent.reading():
        assert await borrower.read_bytes(cid) == DATA
    [read] = reads
    assert (read.blocks, read.wanted, read.holders > 0, read.failure) == (4, 4, True, "")
    assert await borrower.local_bytes(cid) == DATA
    assert await borrower.read_bytes(cid) == DATA
    assert len(reads) == 1  # nobody was asked the second time


@borrowing(keep=False)
async def test_nothing_stays_where_it_is_not_to(borrower, lender, third, lent, reads):
    cid = await third.add_bytes(DATA)
    assert await borrower.read_bytes(cid) == DATA
    with pytest.raises(NotFound):
        await borrower.local_bytes(cid)
    assert await lender.local_bytes(cid) == DATA


@borrowing()
async def test_what_the_lender_has_needs_no_peer(borrower, lender, third, lent, reads):
    cid = await lender.add_bytes(DATA)
    assert await borrower.read_bytes(cid) == DATA
    assert sum(read.holders for read in reads) == 0


@borrowing()
async def test_what_the_borrower_adds_is_served(borrower, lender, third, lent, reads):
    cid = CID.of(b"added later")
    async with trio.open_nursery() as nursery:
        found = []

        async def wait():
            found.append(await third.block_get(cid))

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await borrower.block_put(b"added later")
    assert found == [b"added later"]


@borrowing()
async def test_who_waits_is_told_when_the_lender_ends(borrower, lender, third, lent, reads):
    async with trio.open_nursery() as nursery:

        async def wait():
            with pytest.raises(NotFound, match="the libp2p peer is closed"):
                await borrower.block_get(NOBODY_HAS)

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked(0.01)
        lent.close()
    with pytest.raises(NotFound, match="register another"):
        await borrower.block_get(NOBODY_HAS)
    assert [read.failure != "" for read in reads] == [True]


@borrowing()
async def test_giving_it_back(borrower, lender, third, lent, reads):
    cid = await third.add_bytes(DATA)
    borrower.borrow(None)
    with pytest.raises(NotFound, match="offline"):
        await borrower.read_bytes(cid)


def test_a_node_with_a_network_borrows_none_and_one_without_lends_none():
    async def main():
        async with open_node() as connected, open_node(NodeConfig(libp2p=False)) as alone:
            with pytest.raises(LocalError, match="libp2p=False"):
                connected.borrow(None)
            with pytest.raises(NotRunning):
                alone.exchange  # noqa: B018

    trio.run(main)


def test_peers_and_remote_tiers_race_for_a_borrower(tmp_path):
    """A tier that has nothing, and peers that come later: the borrower has both."""

    @borrowing(tiers=({"type": "gateway", "urls": ["http://127.0.0.1:9"]},))
    async def run(borrower, lender, third, lent, reads):
        cid = await third.add_bytes(DATA)
        assert await borrower.read_bytes(cid) == DATA
        assert [source.name for source in (await borrower.statistics()).sources] == ["peers", "gateway"]
        borrower.borrow(None)
        assert [source.name for source in (await borrower.statistics()).sources] == ["gateway"]

    run()
