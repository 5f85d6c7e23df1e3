"""The gateway tier against gateways that serve well, and those that stall, cut, lie, flood and lead astray."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from ipfs_kit_py.core.cid import CID, DAG_PB, Block
from ipfs_kit_py.core.config import API_SECONDS, GATEWAY_BEHIND_SECONDS, GATEWAY_MAX, MAX_BLOCK_BYTES
from ipfs_kit_py.core.errors import (
    BackendError,
    ConfigError,
    HashMismatch,
    IPFSKitError,
    NotFound,
    NotSupported,
    TimedOut,
)
from ipfs_kit_py.dag import dag_pb
from ipfs_kit_py.storage.remote.base import Transient
from ipfs_kit_py.storage.remote.gateway.tier import GatewayTier, configured_gateways
from test.remote.dags import block, stream
from test.remote.gateways import RAW, Honest, all_of, by_url, liar, run
from test.remote.server import (
    Reply,
    Request,
    Script,
    certified,
    cut,
    endless,
    serving,
    stalled,
    stalling,
)

if TYPE_CHECKING:
    from pathlib import Path

HELLO = block(b"hello")


# --- blocks -----------------------------------------------------------------------------------------------------------
def test_a_block_is_asked_for_as_the_specification_says_and_verified() -> None:
    gateway = Honest([HELLO])

    async def work(tier: GatewayTier) -> None:
        assert await tier.get(HELLO.cid) == b"hello"
        (request,) = gateway.requests
        assert request.path == f"/ipfs/{HELLO.cid}"
        assert (request.query, request.headers["accept"]) == ({"format": "raw"}, "application/vnd.ipld.raw")
        (statistics,) = tier.statistics()
        assert (statistics.blocks, statistics.bytes, statistics.failures) == (1, 5, 0)
        with pytest.raises(NotFound):
            await tier.get(block(b"another").cid)
        assert await tier.get(CID.of(b"inside", hash_code=0)) == b"inside"
        assert len(gateway.requests) == 2

    run([gateway], work)


def test_old_cids_are_asked_for_as_new_ones() -> None:
    node = dag_pb.encode(dag_pb.PBNode([], b"x"))
    gateway = Honest([block(node, DAG_PB)])

    async def work(tier: GatewayTier) -> None:
        old = CID.of(node, DAG_PB, version=0)
        assert await tier.get(old) == node
        assert await all_of(tier, old) == [Block(old, node)]
        assert await tier.has(old)

    run([gateway], work)


def test_the_next_gateway_starts_after_the_usual_time_of_the_one_before() -> None:
    slow, fast = Honest([HELLO], delay=5.0), Honest([HELLO], delay=0.01)

    async def work(tier: GatewayTier) -> None:
        assert await tier.get(HELLO.cid) == b"hello"
        assert trio.current_time() < 2
        assert (len(slow.requests), len(fast.requests)) == (1, 1)
        await tier.get(HELLO.cid)  # the measured one is first now, and alone
        await tier.get(HELLO.cid)
        assert (len(slow.requests), len(fast.requests)) == (1, 3)
        await trio.sleep(10)
        assert by_url(tier)[0].failures == 0

    run([slow, fast], work)


def test_a_gateway_that_fails_or_has_not_got_it_is_not_waited_for() -> None:
    handlers = [cut, Honest([]), Script({}), Honest([HELLO])]

    async def work(tier: GatewayTier) -> None:
        assert await tier.get(HELLO.cid) == b"hello"
        assert trio.current_time() < 0.5
        assert [one.absent for one in by_url(tier)] == [0, 1, 1, 0]
        assert [one.failures for one in by_url(tier)] == [1, 0, 0, 0]

    run(handlers, work)


def test_a_lying_gateway_is_caught_noted_and_put_behind_the_others() -> None:
    false, honest = liar([HELLO]), Honest([HELLO], delay=1.0)

    async def work(tier: GatewayTier) -> None:
        assert await tier.get(HELLO.cid) == b"hello"
        lied = by_url(tier)[0]
        assert (lied.lies, lied.behind, lied.blocks) == (1, True, 0)
        assert tier.statistics()[-1].url == lied.url
        await tier.get(HELLO.cid)
        assert len(false.requests) == 1  # the honest one is asked first, though slower
        await trio.sleep(GATEWAY_BEHIND_SECONDS + 1)
        assert not by_url(tier)[0].behind

    run([false, honest], work)


def test_where_all_lie_it_is_said() -> None:
    async def work(tier: GatewayTier) -> None:
        with pytest.raises(HashMismatch) as lie:
            await tier.get(HELLO.cid)
        assert lie.value.expected == HELLO.cid
        assert lie.value.peer == by_url(tier)[0].url

    run([liar([HELLO]), Honest([])], work)


async def wrong_type(_request: Request) -> Reply:
    return Reply(body=b"hello", headers={"Content-Type": "text/html; charset=utf-8"})


async def too_large(_request: Request) -> Reply:
    return Reply(body=b"x" * (MAX_BLOCK_BYTES + 1), headers=RAW)


async def flood(_request: Request) -> Reply:
    return Reply(body=endless(b"x" * 65_536), headers=RAW)


async def huge_headers(_request: Request) -> Reply:
    return Reply(raw=b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000)


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (wrong_type, "text/html"),
        (too_large, "over"),
        (flood, "over"),
        (huge_headers, "malformed"),
        (Script({f"/ipfs/{HELLO.cid}": [Reply(500, b"broken")]}), "500"),
        (Script({f"/ipfs/{HELLO.cid}": [Reply(400, b"bad")]}), "400"),
        (Script({f"/ipfs/{HELLO.cid}": [Reply(206, b"hello", RAW)]}), "206"),
    ],
)
def test_answers_that_are_no_block(handler: Any, message: str) -> None:
    async def work(tier: GatewayTier) -> None:
        with pytest.raises(BackendError, match=message) as refused:
            await tier.get(HELLO.cid)
        assert not isinstance(refused.value, Transient)

    run([handler], work)

    async def with_another(tier: GatewayTier) -> None:
        assert await tier.get(HELLO.cid) == b"hello"

    run([handler, Honest([HELLO])], with_another)


@pytest.mark.parametrize("status", [404, 410, 451])
def test_what_a_gateway_has_not_or_refuses(status: int) -> None:
    async def work(tier: GatewayTier) -> None:
        with pytest.raises(NotFound):
            await tier.get(HELLO.cid)
        with pytest.raises(NotFound):
            await all_of(tier, HELLO.cid)
        assert not await tier.has(HELLO.cid)
        assert by_url(tier)[0].failures == 0

    run([Script({f"/ipfs/{HELLO.cid}": [Reply(status, b"no")]})], work)


def test_one_that_has_it_not_and_one_that_is_away_is_not_not_found() -> None:
    async def work(tier: GatewayTier) -> None:
        with pytest.raises(Transient):
            await tier.get(HELLO.cid)

    run([Honest([]), cut], work)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_gateway_that_is_busy_is_asked_again_after_its_time(status: int) -> None:
    script = Script(
        {f"/ipfs/{HELLO.cid}": [Reply(status, b"later", {"Retry-After": "8"}), Reply(body=b"hello", headers=RAW)]}
    )

    async def work(tier: GatewayTier) -> None:
        assert await tier.get(HELLO.cid) == b"hello"
        assert trio.current_time() >= 8

    run([script], work)


def test_a_resting_gateway_is_left_alone_while_others_answer() -> None:
    busy = Script({f"/ipfs/{HELLO.cid}": [Reply(429, b"later", {"Retry-After": "600"})]})

    async def work(tier: GatewayTier) -> None:
        for _ in range(5):
            assert await tier.get(HELLO.cid) == b"hello"
        assert len(busy.requests) == 1
        assert 590 < by_url(tier)[0].resting <= 600
        await trio.sleep(601)
        assert not by_url(tier)[0].resting

    run([busy, Honest([HELLO])], work)


def test_a_gateway_may_not_be_put_to_rest_for_ever() -> None:
    busy = Script({f"/ipfs/{HELLO.cid}": [Reply(429, b"later", {"Retry-After": "999999999"})]})

    async def work(tier: GatewayTier) -> None:
        with pytest.raises(IPFSKitError):
            await tier.get(HELLO.cid)
        assert by_url(tier)[0].resting <= 900
        assert len(busy.requests) == 1

    run([busy], work)


def test_gateways_that_stall_are_given_up() -> None:
    async def half(_request: Request) -> Reply:
        return Reply(body=stalling(b"he"), headers=RAW)

    async def work(tier: GatewayTier) -> None:
        with pytest.raises(TimedOut):
            await tier.get(HELLO.cid)
        assert trio.current_time() < API_SECONDS + 2
        with pytest.raises(TimedOut):
            await all_of(tier, HELLO.cid)

    run([stalled, half], work)

    async def with_another(tier: GatewayTier) -> None:
        assert await tier.get(HELLO.cid) == b"hello"
        assert trio.current_time() < 5

    run([stalled, half, Honest([HELLO])], with_another)


def test_only_so_many_are_asked_at_once() -> None:
    gateways = [Honest([HELLO], delay=100) for _ in range(8)]

    async def work(tier: GatewayTier) -> None:
        with pytest.raises(TimedOut):
            await tier.get(HELLO.cid)
        assert sum(len(gateway.requests) for gateway in gateways) == 4

    run(gateways, work)


# --- whether there is one ---------------------------------------------------------------------------------------------
def test_has_asks_for_what_is_there_already() -> None:
    gateways = [Honest([]), Honest([HELLO])]

    async def work(tier: GatewayTier) -> None:
        assert await tier.has(HELLO.cid)
        assert not await tier.has(block(b"z").cid)
        assert {request.method for request in gateways[0].requests} == {"HEAD"}
        assert gateways[0].requests[0].headers["cache-control"] == "only-if-cached"

    run(gateways, work)


def test_has_where_some_or_all_fail() -> None:
    async def some(tier: GatewayTier) -> None:
        assert not await tier.has(HELLO.cid)

    async def none(tier: GatewayTier) -> None:
        with pytest.raises(BackendError):
            await tier.has(HELLO.cid)

    run([cut, stalled, Honest([])], some)
    run([cut, stalled], none)
    run([stalled], none)


# --- redirects --------------------------------------------------------------------------------------------------------
def redirect(to: str, status: int = 301) -> Reply:
    return Reply(status, b"", {"Location": to})


def test_redirects_are_followed_a_few_times_and_carry_no_token_away() -> None:
    target = Honest([HELLO])
    path = f"/ipfs/{HELLO.cid}"

    async def main() -> None:
        async with serving(target) as far:
            near = Script({path: [redirect("/second?x=1")], "/second": [redirect(f"{far}{path}?format=raw", 307)]})
            async with serving(near) as url:
                tier = GatewayTier([url], rng=random.Random(1), tokens={url: "s3cret"})
                for _ in range(2):
                    assert await tier.get(HELLO.cid) == b"hello"
                assert [request.headers.get("authorization") for request in near.requests[:2]] == ["Bearer s3cret"] * 2
                assert near.requests[1].query == {"x": "1"}
                assert all("authorization" not in request.headers for request in target.requests)
                assert {request.connection for request in target.requests} == {0}
                assert "s3cret" not in repr(tier) + repr(tier.statistics())
                await tier.aclose()

    trio.run(main)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("/ipfs/loop", "more than 3 times"),
        ("", "no URL"),
        ("ftp://127.0.0.1/", "no URL"),
        ("http://user:word@127.0.0.1/", "no URL"),
        ("file:///etc/passwd", "no URL"),
        ("http://[::1", "no URL"),
        ("http://127.0.0.1:0/", "no URL"),
        ("http://127.0.0.1:99999/", "no URL"),
        ("/a b", "no URL"),
    ],
)
def test_redirects_that_lead_nowhere(location: str, message: str) -> None:
    async def astray(_request: Request) -> Reply:
        return redirect(location)

    async def work(tier: GatewayTier) -> None:
        with pytest.raises(BackendError, match=message):
            await tier.get(HELLO.cid)

    run([astray], work)


def test_redirects_never_leave_https(tmp_path: Path) -> None:
    server, client = certified(tmp_path)
    target = Honest([HELLO])

    async def main() -> None:
        async with serving(target) as far:
            async with serving(Script({f"/ipfs/{HELLO.cid}": [redirect(f"{far}/x")]}), tls=server) as url:
                tier = GatewayTier([url], rng=random.Random(1), tls=client)
                with pytest.raises(BackendError, match="from https to http"):
                    await tier.get(HELLO.cid)
                await tier.aclose()
            async with serving(target, tls=server) as url:
                tier = GatewayTier([url], rng=random.Random(1), tls=client)
                assert await tier.get(HELLO.cid) == b"hello"
                await tier.aclose()
        assert len(target.requests) == 1

    trio.run(main)


def test_redirects_from_outside_lead_to_no_private_address() -> None:
    gateway = GatewayTier(["https://gateway.example"], rng=random.Random(1))._gateways[0]
    for host in ("127.0.0.1", "10.0.0.1", "192.168.1.1:5001", "169.254.169.254", "[::1]", "localhost", "a.localhost"):
        with pytest.raises(BackendError, match="private"):
            gateway._target("https://gateway.example/ipfs/x", f"https://{host}/x")
    assert gateway._target("https://gateway.example/ipfs/x", "//other.example/y#z") == "https://other.example/y"


# --- the rest ---------------------------------------------------------------------------------------------------------
def test_health_says_which_answer() -> None:
    probe = Script({"/ipfs/bafkqaaa": [Reply(headers=RAW)]})
    odd = Script({"/ipfs/bafkqaaa": [Reply(body=b"hello", headers=RAW)]})

    async def work(tier: GatewayTier) -> None:
        health = await tier.health()
        assert health.ok
        assert health.detail.startswith("1 of 4 gateways answer")
        assert "no trustless gateway" in health.detail

    run([stalled, probe, odd, cut], work)

    async def ill(tier: GatewayTier) -> None:
        assert not (await tier.health()).ok

    run([odd, stalled], ill)


def test_what_gateways_do_not_do() -> None:
    async def work(tier: GatewayTier) -> None:
        for call in (partial(tier.put, HELLO.cid, stream([HELLO])), partial(tier.remove, HELLO.cid)):
            with pytest.raises(NotSupported):
                await call()
        with pytest.raises(NotSupported):
            await tier.status(HELLO.cid)
        assert tier.verbs == {"get", "get_dag", "has"}

    run([Honest([])], work)


def test_configurations_that_cannot_be_used() -> None:
    rng = random.Random(1)
    for urls in ([], ["http://a"] * (GATEWAY_MAX + 1), ["nowhere"], ["http://user:pass@host"]):
        with pytest.raises(ConfigError):
            GatewayTier(urls, rng=rng)
    with pytest.raises(ConfigError) as refused:
        GatewayTier(["http://a"], rng=rng, tokens={"http://b": "s3cret"})
    assert "s3cret" not in str(refused.value)


def test_the_gateways_that_the_user_prefers(tmp_path: Path) -> None:
    places = {
        "IPFS_PATH": tmp_path / "repo" / "gateway",
        "HOME": tmp_path / "home" / ".ipfs" / "gateway",
        "XDG_CONFIG_HOME": tmp_path / "xdg" / "ipfs" / "gateway",
    }
    for name, path in places.items():
        path.parent.mkdir(parents=True)
        path.write_text(f"http://{name.lower().replace('_', '-')}.example/\n")
    environ = {"IPFS_PATH": str(tmp_path / "repo"), "HOME": str(tmp_path / "home")}
    environ["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
    several = {**environ, "IPFS_GATEWAY": "http://one.example/ ftp://x  https://two.example\n"}
    assert configured_gateways(several) == ("http://one.example", "https://two.example")
    assert configured_gateways({**environ, "IPFS_GATEWAY": "nonsense"}) == ("http://ipfs-path.example",)
    assert configured_gateways(environ) == ("http://ipfs-path.example",)
    places["IPFS_PATH"].write_bytes(b"\xff\xfe\n")
    assert configured_gateways(environ) == ("http://home.example",)
    places["HOME"].unlink()
    assert configured_gateways(environ) == ("http://xdg-config-home.example",)
    places["XDG_CONFIG_HOME"].write_text("http://a.example\nhttp://b.example\nhttp://a.example/\n" * 10_000)
    assert configured_gateways(environ) == ("http://a.example", "http://b.example")
