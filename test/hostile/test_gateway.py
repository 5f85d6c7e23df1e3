"""Gateways that misbehave in the middle of an archive: what was good stays, the rest comes from another."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py.core.cid import DAG_CBOR, Block
from ipfs_kit_py.core.config import API_PROGRESS_BYTES, API_SECONDS, MAX_BLOCK_BYTES
from ipfs_kit_py.core.errors import BackendError, IPFSKitError
from ipfs_kit_py.core.varint import encode
from ipfs_kit_py.dag import dag_cbor
from ipfs_kit_py.storage.remote.base import Transient
from ipfs_kit_py.storage.remote.gateway.tier import GatewayTier
from test.remote.archives import archive
from test.remote.dags import block, tree
from test.remote.gateways import CAR, Honest, all_of, by_url, liar, run
from test.remote.loopback import Reply, Request
from test.remote.server import Script, chunks, endless, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

BLOCKS = tree(57, 3000)
ROOT = BLOCKS[0].cid
HALF = 25  # blocks that come before an archive goes wrong


def sections(blocks: list[Block]) -> bytes:
    """The sections of an archive without its header."""
    return archive(ROOT, blocks)[len(archive(ROOT, [])) :]


GOOD = archive(ROOT, BLOCKS[:HALF])


async def huge_section() -> AsyncGenerator[bytes, None]:
    """A section that is said to have a tebibyte, and goes on as if."""
    yield GOOD + encode(1 << 40) + BLOCKS[HALF].cid.raw
    while True:
        yield bytes(1 << 16)


def huge_block() -> AsyncGenerator[bytes, None]:
    """A true block, of the DAG or not, over the size that there may be."""
    return chunks(GOOD + sections([block(bytes(MAX_BLOCK_BYTES + 1))]))


async def duplicates() -> AsyncGenerator[bytes, None]:
    """A true block of the DAG again and again, without end."""
    yield GOOD
    again = sections([BLOCKS[HALF - 1]] * 20)
    while True:
        yield again


async def empty_sections() -> AsyncGenerator[bytes, None]:
    """Sections of no bytes, without end."""
    yield GOOD
    while True:
        yield bytes(1 << 16)


async def drip() -> AsyncGenerator[bytes, None]:
    """True bytes, one in half a second: it never stalls, and never gets anywhere."""
    yield GOOD
    for byte in sections(BLOCKS[HALF:]):
        await trio.sleep(0.5)
        yield bytes([byte])


def false_block() -> AsyncGenerator[bytes, None]:
    return chunks(GOOD + sections([Block(BLOCKS[HALF].cid, b"false"), *BLOCKS[HALF + 1 :]]))


def page() -> AsyncGenerator[bytes, None]:
    """What a proxy in between may put there."""
    return chunks(GOOD + b"<html><body>502 Bad Gateway</body></html>")


def second_header() -> AsyncGenerator[bytes, None]:
    return chunks(GOOD + archive(ROOT, BLOCKS[HALF:]))


MIDDLE = [huge_section, huge_block, duplicates, empty_sections, drip, false_block, page, second_header]


@pytest.mark.parametrize("body", MIDDLE, ids=lambda body: body.__name__)
def test_what_was_good_is_not_fetched_again(body: Callable[[], Any]) -> None:
    bad = Honest(BLOCKS, broken=lambda _raw: body())
    other = Honest(BLOCKS, delay=0.3)

    async def work(tier: GatewayTier) -> None:
        found = await all_of(tier, ROOT)
        assert sorted(found) == sorted(BLOCKS)
        assert len(found) == len(BLOCKS)
        assert len(bad.asked("car")) == 1
        assert not other.asked("car")
        asked = bad.asked("raw") + other.asked("raw")
        assert not set(asked) & {str(one.cid) for one in BLOCKS[:HALF]}
        statistics = by_url(tier)[0]
        assert (statistics.failures >= 1, statistics.blocks >= HALF) == (True, True)
        assert statistics.lies == (1 if body is false_block else 0)

    run([bad, other], work)


async def long_header() -> AsyncGenerator[bytes, None]:
    """A header that is said to have a tebibyte, and goes on as if."""
    yield encode(1 << 40)
    while True:
        yield bytes(1 << 16)


async def many_roots() -> AsyncGenerator[bytes, None]:
    """A header that begins well and names roots without end."""
    link = b"\xd8\x2a\x58\x25\x00" + ROOT.raw
    yield encode(1 << 62) + b"\xa2\x65roots\x9b\x00\x00\x00\xff\xff\xff\xff\xff"
    while True:
        yield link * 1000


async def slow_header() -> AsyncGenerator[bytes, None]:
    for byte in archive(ROOT, BLOCKS):
        await trio.sleep(0.5)
        yield bytes([byte])


def no_number() -> AsyncGenerator[bytes, None]:
    """A length of more bytes than a length has."""
    return endless(b"\xff" * 1000)


BEGINNING = [long_header, many_roots, slow_header, no_number]


@pytest.mark.parametrize("body", BEGINNING, ids=lambda body: body.__name__)
def test_headers_that_do_not_end_are_left(body: Callable[[], Any]) -> None:
    bad = Honest(BLOCKS, broken=lambda _raw: body())

    async def alone(tier: GatewayTier) -> None:
        with pytest.raises(IPFSKitError):
            await all_of(tier, ROOT)
        assert trio.current_time() < 3 * API_SECONDS

    run([bad], alone)
    other = Honest(BLOCKS, delay=0.3)

    async def with_another(tier: GatewayTier) -> None:
        assert sorted(await all_of(tier, ROOT)) == sorted(BLOCKS)
        assert len(other.asked("car")) == 1

    run([bad, other], with_another)


def test_a_block_that_is_too_large_is_not_held() -> None:
    """It is the root itself: nothing else could come. The answer is left, and not read to its end."""
    large = block(bytes(MAX_BLOCK_BYTES + 1))
    sent = 0

    async def flood(_raw: bytes) -> AsyncGenerator[bytes, None]:
        nonlocal sent
        yield archive(large.cid, [])
        yield encode(len(large.cid.raw) + (1 << 40)) + large.cid.raw
        while True:
            yield bytes(1 << 16)
            sent += 1 << 16

    async def work(tier: GatewayTier) -> None:
        with pytest.raises(BackendError):
            await all_of(tier, large.cid)

    run([Honest([large], broken=flood)], work)
    assert sent < 64 << 20


def test_one_that_drips_has_its_time_only_for_what_it_brings() -> None:
    """What gets on by ``API_PROGRESS_BYTES`` in time is waited for, however long the whole takes."""
    leaves = [block(random.Random(at).randbytes(API_PROGRESS_BYTES + 1)) for at in range(6)]
    root = block(dag_cbor.encode([leaf.cid for leaf in leaves]), DAG_CBOR)
    blocks = [root, *leaves]

    async def steady(raw: bytes) -> AsyncGenerator[bytes, None]:
        step = (API_PROGRESS_BYTES + 1) // 2
        for at in range(0, len(raw), step):
            await trio.sleep(API_SECONDS * 0.4)
            yield raw[at : at + step]

    gateway = Honest(blocks, broken=steady)

    async def work(tier: GatewayTier) -> None:
        assert sorted(await all_of(tier, root.cid)) == sorted(blocks)
        assert trio.current_time() > 4 * API_SECONDS
        assert not gateway.asked("raw")

    run([gateway], work)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_archives_that_are_refused_come_from_another_and_a_busy_one_is_left_alone(status: int) -> None:
    bad = Honest(BLOCKS, archives=status, headers=CAR)
    other = Honest(BLOCKS, delay=0.3)

    async def work(tier: GatewayTier) -> None:
        assert sorted(await all_of(tier, ROOT)) == sorted(BLOCKS)
        assert len(other.asked("car")) == 1
        assert by_url(tier)[0].failures == 1
        assert (by_url(tier)[0].resting > 0) == (status in (429, 503))

    run([bad, other], work)


def test_an_archive_is_asked_for_again_after_the_time_that_a_busy_gateway_wants() -> None:
    path = f"/ipfs/{ROOT}"
    raw = archive(ROOT, BLOCKS)
    script = Script({path: [Reply(429, b"later", {"Retry-After": "7"}), Reply(body=raw, headers=CAR)]})

    async def work(tier: GatewayTier) -> None:
        assert sorted(await all_of(tier, ROOT)) == sorted(BLOCKS)
        assert trio.current_time() >= 7
        assert len(script.requests) == 2

    run([script], work)


def test_archives_elsewhere_are_fetched_without_what_is_secret_and_loops_end() -> None:
    far = Honest(BLOCKS)

    async def main() -> None:
        async with serving(far) as there:

            async def away(request: Request) -> Reply:
                asked.append(request.headers.get("authorization"))
                query = "&".join(f"{name}={value}" for name, value in request.query.items())
                return Reply(307, b"", {"Location": f"{there}{request.path}?{query}"})

            asked: list[str | None] = []
            async with serving(away) as here:
                tier = GatewayTier([here], rng=random.Random(1), tokens={here: "s3cret"})
                assert sorted(await all_of(tier, ROOT)) == sorted(BLOCKS)
                await tier.aclose()
            assert asked == ["Bearer s3cret"]
            assert [request.headers.get("authorization") for request in far.requests] == [None]

            async def loop(request: Request) -> Reply:
                return Reply(302, b"", {"Location": f"{request.path}/x"})

            async with serving(loop) as here:
                tier = GatewayTier([here], rng=random.Random(1), tokens={here: "s3cret"})
                with pytest.raises(BackendError, match="more than 3 times") as refused:
                    await all_of(tier, ROOT)
                assert not isinstance(refused.value, Transient)
                assert "s3cret" not in str(refused.value)
                await tier.aclose()

    trio.run(main)


def test_liars_in_the_majority_are_not_asked_again_once_they_are_caught() -> None:
    """One that was cancelled before its lie was looked at is asked another time."""
    liars = [liar(BLOCKS) for _ in range(3)]
    honest = Honest(BLOCKS, delay=2.0)

    async def work(tier: GatewayTier) -> None:
        rounds = 0
        while [one.lies for one in by_url(tier)] != [1, 1, 1, 0]:
            assert sorted(await all_of(tier, ROOT)) == sorted(BLOCKS)
            rounds += 1
            assert rounds < 20
        asked = [len(gateway.requests) for gateway in liars]
        assert max(asked) <= rounds
        for _ in range(3):
            assert sorted(await all_of(tier, ROOT)) == sorted(BLOCKS)
        assert [len(gateway.requests) for gateway in liars] == asked

    run([*liars, honest], work)
