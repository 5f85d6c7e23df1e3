"""The Storacha tier against a scripted service that lies: about blobs, uploads, indexes, places."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ipfs_kit_py.core import config
from ipfs_kit_py.core.cid import CID, DAG_CBOR, RAW, Block
from ipfs_kit_py.core.errors import BackendError, HashMismatch, InvalidBlock, NotFound, TimedOut
from ipfs_kit_py.dag import dag_cbor
from ipfs_kit_py.storage.remote import base
from ipfs_kit_py.storage.remote.storacha import api as storacha_api
from ipfs_kit_py.storage.remote.storacha import read as storacha_read
from ipfs_kit_py.storage.remote.storacha import tier as storacha
from ipfs_kit_py.storage.remote.storacha.blob import Site
from ipfs_kit_py.storage.remote.storacha.did import Unauthorized, did_bytes
from ipfs_kit_py.storage.remote.storacha.shard_index import decode_index, encode_index, encode_shard
from ipfs_kit_py.storage.remote.storacha.ucan import Capability, Delegation, encode_car, issue
from ipfs_kit_py.storage.remote.storacha.ucan_message import Message
from ipfs_kit_py.storage.remote.storacha.uploads import Blob, Upload
from test.remote.dags import stream, tree
from test.remote.loopback import Reply, Request
from test.remote.storacha_service import (
    AGENT,
    BLOCKS,
    NODE,
    NOW,
    OTHER,
    ROOT,
    SERVICE,
    SERVICE_KEY,
    STRANGER,
    Service,
    all_of,
    always,
    did,
    failed,
    having,
    put,
    resigned,
    right_of,
    run,
    world,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipfs_kit_py.storage.remote.storacha.tier import StorachaTier


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "RETRY_BASE_SECONDS", 0.001)
    monkeypatch.setattr(storacha_read, "RETRY_BASE_SECONDS", 0.001)
    monkeypatch.setattr(storacha_api, "POLL_SECONDS", 0.001)


# --- lies about a blob ------------------------------------------------------------------------------------------------
def _swapped(value: dict[str, Any]) -> dict[str, Any]:
    return {**value, "blob": {**value["blob"], "digest": OTHER}}


LIES: dict[str, tuple[str, Callable[[Any], Any], type[Exception], str]] = {
    "the receipt by a stranger": ("signer", always(STRANGER), Unauthorized, "said to be signed"),
    "the receipt in another name": ("issuer", always(did(STRANGER)), Unauthorized, "not by did:web"),
    "the receipt of another task": ("ran", always(CID.of(b"x", DAG_CBOR)), BackendError, "without a receipt"),
    "no tasks": ("forks", always([]), BackendError, "0 tasks blob/allocate"),
    "tasks twice": ("forks", lambda forks: forks[:1], BackendError, "0 tasks http/put"),
    "allocated another blob": ("allocate nb", _swapped, BackendError, "blob/allocate of another blob"),
    "allocated another size": (
        "allocate nb", lambda nb: {**nb, "blob": {**nb["blob"], "size": 1}}, BackendError, "blob/allocate of another",
    ),
    "allocated in another space": (
        "allocate nb", having(space=did_bytes(did(STRANGER))), BackendError, "blob/allocate for another space",
    ),
    "accepts another blob": ("accept nb", _swapped, BackendError, "blob/accept of another blob"),
    "accepts in another space": (
        "accept nb", having(space=did_bytes(did(STRANGER))), BackendError, "blob/accept for another space",
    ),
    "a task by a stranger": ("allocate signer", always(STRANGER), Unauthorized, "said to be signed"),
    "a task that expired": ("accept expires", always(NOW), Unauthorized, "expired"),
    "a task without the node's leave": ("allocate proof", always(STRANGER), Unauthorized, "no right to blob/alloc"),
    "allocated by a stranger": ("node", always(STRANGER), Unauthorized, "not by did:key"),
    "allocation failed": (
        "allocated", lambda receipt: failed(NODE, receipt.ran, {"name": "Full", "message": "no"}, did(NODE)),
        BackendError, "failed in blob/allocate: 'Full' 'no'",
    ),
    "delivery of another blob": ("put nb", having(body={"digest": OTHER, "size": 1}), BackendError, "put of another"),
    "delivery asked for by a stranger": ("put signer", always(STRANGER), Unauthorized, "said to be signed"),
    "no key to deliver with": ("put facts", always([]), BackendError, "no key to tell with"),
    "another's key to deliver with": (
        "put facts",
        lambda facts: [{"keys": {**facts[0]["keys"], "keys": {name: raw[:2] + bytes(32) + raw[34:]
                                                             for name, raw in facts[0]["keys"]["keys"].items()}}}],
        BackendError, "no key to tell with",
    ),
    "no address": ("address", always({"url": 1}), BackendError, "no address"),
    "an address of a file": ("address", having(url="file:///etc/passwd"), BackendError, "file://, which is refused"),
    "an address with a user": ("address", having(url="http://a:b@127.0.0.1/"), BackendError, "or a user"),
    "an address that is none": ("address", having(url="http://[::1"), BackendError, "is no URL"),
    "an address that is too long": ("address", having(url="http://a/" + "b" * 5000), BackendError, "no address"),
    "headers that break the request": (
        "address", having(headers={"x": "a\r\nHost: b"}), BackendError, "a header that cannot be sent",
    ),
    "too many headers": ("address", having(headers={f"x{at}": "" for at in range(99)}), BackendError, "more than 32"),
    "accepted by a stranger": ("accept node", always(STRANGER), Unauthorized, "not by did:key"),
    "accepted nowhere": ("accept ok", always({"site": 1}), BackendError, "does not tell where it is"),
    "accepted with a claim that is missing": (
        "accept ok", always({"site": CID.of(b"x", DAG_CBOR)}), BackendError, "is missing",
    ),
    "accepting failed": (
        "accepted", lambda receipt: failed(NODE, receipt.ran, {"name": "Lost", "message": "it"}, did(NODE)),
        BackendError, "failed in blob/accept: 'Lost' 'it'",
    ),
    "accepting failed, says the service": (
        "accepted", lambda receipt: failed(SERVICE_KEY, receipt.ran, {"name": "AwaitError", "message": "it"}, SERVICE),
        BackendError, "failed in blob/accept: 'AwaitError' 'it'",
    ),
    "the receipt of another acceptance": (
        "accepted", lambda receipt: resigned(receipt, NODE, ran=CID.of(b"x")), TimedOut, "gave no receipt",
    ),
    "a claim by a stranger": ("claim signer", always(STRANGER), Unauthorized, "said to be signed"),
    "a claim about another's resource": ("claim on", always(did(STRANGER)), Unauthorized, "no right to assert/loc"),
    "a claim that expired": ("claim expires", always(NOW - 60), Unauthorized, "expired 60 s ago"),
    "a claim of another blob": ("claim nb", having(content={"digest": OTHER}), HashMismatch, "where another blob is"),
    "a claim of another space": (
        "claim nb", having(space=did_bytes(did(STRANGER))), BackendError, "a blob of another space",
    ),
    "a claim of a space that is none": ("claim nb", having(space=b"\0\0\0"), BackendError, "malformed"),
    "a claim without addresses": ("claim nb", having(location=[]), BackendError, "claims no addresses"),
    "a claim with a false range": ("claim nb", having(range={"offset": -1}), BackendError, "a range that is none"),
    "a claim with a false length": (
        "claim nb", having(range={"offset": 0, "length": "x"}), BackendError, "a range that is none",
    ),
    "a claim of a file": ("claim nb", having(location=["file:///etc/passwd"]), BackendError, "file://, which is"),
    "an answer that is no archive": ("answer", always(b"no"), BackendError, "malformed"),
    "an answer that was changed": ("answer", lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), BackendError, "malformed"),
    "an answer about nothing": ("answer", always(Message().encode()), BackendError, "without a receipt"),
    "an answer that is too long": ("answer", always(bytes(config.UCAN_MESSAGE_BYTES + 1)), BackendError, "is over"),
    "a receipt that is no archive": ("poll", always(b"no"), BackendError, "malformed"),
    "a receipt that is too long": ("poll", always(bytes(config.UCAN_MESSAGE_BYTES + 1)), BackendError, "is over"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a_lying_service_is_not_believed(name: str) -> None:
    twist, lie, error, match = LIES[name]

    async def work(tier: StorachaTier, service: Service) -> None:
        service.twists[twist] = lie
        with pytest.raises(error, match=match):
            await put(tier)
        assert tier.uploads == {}
        assert service.uploads == {}

    run(work, wait=0.05)


@pytest.mark.parametrize(
    ("lie", "match"),
    [
        (lambda receipt: resigned(receipt, STRANGER), "said to be signed"),
        (lambda receipt: resigned(receipt, STRANGER, iss=did(STRANGER)), "not by did:key"),
    ],
)
def test_a_stranger_cannot_tell_that_a_blob_was_delivered(lie: Callable[[Any], Any], match: str) -> None:
    async def work(tier: StorachaTier, service: Service) -> None:
        await put(tier)
        service.twists["delivered"] = lie
        with pytest.raises(Unauthorized, match=match):
            await put(tier)

    run(work)


def test_receipts_of_long_ago_are_checked_too() -> None:
    async def work(tier: StorachaTier, service: Service) -> None:
        await put(tier)
        for task, (receipt, blocks) in service.receipts.items():
            if receipt.issuer == SERVICE:
                service.receipts[task] = (resigned(receipt, STRANGER), blocks)
        async with world(service) as (other, _service):
            with pytest.raises(Unauthorized, match="said to be signed"):
                await all_of(other)

    run(work)


def test_a_receipt_with_millions_of_items_is_left() -> None:
    """What is short as bytes may be long as values: it is read away from the loop, and its blocks are bounded."""
    small = [bytes([at % 256, at // 256]) for at in range(config.UCAN_MESSAGE_BLOCKS + 1)]
    many = {CID.of(item): item for item in small}
    wide = dag_cbor.encode({"ocm": {"ran": ROOT, "out": {"ok": [0] * 2_000_000}}, "sig": b""})

    def reported(raw: bytes) -> bytes:
        [task] = Message.decode(raw).report
        cid = CID.of(wide, DAG_CBOR)
        return Message((), {task: cid}, {cid: wide}).encode()

    async def work(tier: StorachaTier, service: Service) -> None:
        service.twists["answer"] = reported
        with pytest.raises(BackendError, match="a receipt of 2000"):
            await put(tier)
        service.twists["answer"] = always(encode_car(next(iter(many)), many))
        with pytest.raises(BackendError, match="blocks"):
            await put(tier)

    run(work)


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("http://203.0.113.7/x", "http://, which is refused"),
        ("https://127.0.0.1/x", "inside of our own network"),
        ("https://[fe80::1]/x", "inside of our own network"),
        ("https://169.254.169.254/x", "inside of our own network"),
        ("https://localhost/x", "inside of our own network"),
    ],
)
def test_a_public_service_names_no_addresses_of_our_own_network(url: str, match: str) -> None:
    async def work(tier: StorachaTier, _service: Service) -> None:
        assert tier._api.site("https://node.example.org/a?b=c#d").geturl() == "https://node.example.org/a?b=c"
        with pytest.raises(BackendError, match=match):
            tier._api.site(url)

    run(work, endpoint="https://up.example.org/")


def test_only_allowed_hosts_are_gone_to() -> None:
    async def work(tier: StorachaTier, _service: Service) -> None:
        with pytest.raises(BackendError, match="not among the allowed"):
            await put(tier)

    run(work, hosts=["node.example.org"])


# --- lies about what is kept ------------------------------------------------------------------------------------------
def test_false_bytes_are_never_given_out() -> None:
    async def work(tier: StorachaTier, service: Service) -> None:
        await put(tier)
        await tier.get(ROOT)
        service.twists["blob"] = lambda data: data[:-2000] + bytes([data[-2000] ^ 1]) + data[-1999:]
        good: list[Block] = []
        with pytest.raises(HashMismatch):
            await into(good, tier)
        assert all(one in BLOCKS for one in good)
        with pytest.raises(HashMismatch):
            await tier.get(BLOCKS[-1].cid)
        del tier.uploads[ROOT]
        service.uploads.clear()
        with pytest.raises(HashMismatch):
            await into(good, tier)
        assert all(one in BLOCKS for one in good)

    async def into(good: list[Block], tier: StorachaTier) -> None:
        async for one in tier.get_dag(ROOT):
            good.append(one)

    run(work)


def test_blocks_that_are_not_of_the_dag_are_not_given_out() -> None:
    """The service says that another upload's archive holds the DAG as well."""
    alien = tree(10, 4000, seed=9)

    async def work(tier: StorachaTier, service: Service) -> None:
        await tier.put(alien[0].cid, stream(alien))
        await put(tier)
        service.uploads[ROOT] = [*service.uploads[alien[0].cid], *service.uploads[ROOT]]
        tier.uploads.clear()
        assert await all_of(tier) == BLOCKS
        service.uploads[ROOT] = service.uploads[alien[0].cid]
        with pytest.raises(NotFound, match="lack its block"):
            await all_of(tier)

    run(work)


@pytest.mark.parametrize(
    ("twist", "match"),
    [
        (lambda row: {**row, "root": BLOCKS[1].cid}, "tells of"),
        (lambda row: {**row, "shards": "x"}, "no links"),
        (lambda row: {**row, "shards": [BLOCKS[1].cid]}, "no links"),
        (lambda row: {**row, "shards": row["shards"] * (config.STORACHA_SHARDS + 1)}, "too many"),
        (lambda row: {"shards": row["shards"]}, "without its root"),
        (lambda _row: [1], "answers upload/get with list"),
    ],
)
def test_lies_about_an_upload_are_refused(twist: Callable[[Any], Any], match: str) -> None:
    async def work(tier: StorachaTier, service: Service) -> None:
        await put(tier)
        tier.uploads.clear()
        service.twists["upload"] = twist
        for ask in (tier.status(ROOT), all_of(tier), tier.remove(ROOT)):
            with pytest.raises(BackendError, match=match):
                await ask
        assert len(service.space) == 2

    run(work)


def test_a_list_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storacha, "STORACHA_PAGES", 5)

    async def work(tier: StorachaTier, service: Service) -> None:
        await put(tier)
        pages = iter(range(100))
        service.twists["page"] = lambda page: {**page, "cursor": str(next(pages))}
        with pytest.raises(BackendError, match="more than 500 uploads"):
            await tier.remove(ROOT)
        assert len(service.space) == 2
        assert service.asked["upload/list"] == 5
        service.twists["page"] = having(cursor="same")
        assert len([one async for one in tier.list_uploads()]) == 2
        service.twists["page"] = having(results=1)
        with pytest.raises(BackendError, match="with no list"):
            await tier.remove(ROOT)

    run(work)


def test_a_list_without_archives_is_asked_one_by_one() -> None:
    async def work(tier: StorachaTier, service: Service) -> None:
        await put(tier)
        service.uploads[BLOCKS[1].cid] = service.uploads[ROOT]
        service.twists["page"] = lambda page: {"results": [{"root": row["root"]} for row in page["results"]]}
        await tier.remove(ROOT)
        assert list(service.space) == [shard.multihash for shard in service.uploads[BLOCKS[1].cid]]

    run(work)


@pytest.mark.parametrize("later", [0, 3600])
def test_where_a_blob_is_follows_from_receipts_alone(later: int) -> None:
    """Also when the tasks of long ago have expired; only the claim must be valid."""

    async def work(tier: StorachaTier, service: Service) -> None:
        service.twists["allocate expires"] = service.twists["accept expires"] = always(NOW + 60)
        service.twists["claim expires"] = always(NOW + 7000)
        await put(tier)
        async with world(service, clock=lambda: NOW + later) as (other, _service):
            assert await all_of(other) == BLOCKS
            assert other.uploads == {}
        async with world(service, clock=lambda: NOW + 7000) as (other, _service):
            with pytest.raises(Unauthorized, match="expired"):
                await all_of(other)

    run(work)


@pytest.mark.parametrize(
    ("twist", "lie", "error", "match"),
    [
        ("cause", always("x"), BackendError, "does not tell how"),
        ("cause", always(CID.of(b"x", DAG_CBOR)), NotFound, "404"),
        ("poll", always(Message().encode()), NotFound, "without the receipt"),
    ],
)
def test_where_a_blob_is_may_not_be_known(
    twist: str, lie: Callable[[Any], Any], error: type[Exception], match: str
) -> None:
    async def work(tier: StorachaTier, service: Service) -> None:
        await put(tier)
        service.twists[twist] = lie
        async with world(service) as (other, _service):
            with pytest.raises(error, match=match):
                await all_of(other)

    run(work)


def test_a_place_that_moved_is_asked_for_again() -> None:
    async def work(tier: StorachaTier, service: Service) -> None:
        await put(tier)
        upload = tier.uploads[ROOT]
        moved = []
        for shard in upload.shards:
            assert shard.site is not None
            moved.append(replace(shard, site=replace(shard.site, urls=(f"{service.url}/gone",))))
        async with world(service, uploads={ROOT: replace(upload, shards=tuple(moved))}) as (other, _service):
            assert await all_of(other) == BLOCKS
        late = replace(
            upload, shards=tuple(replace(one, site=replace(one.site, expires=NOW)) for one in moved if one.site)
        )
        before = service.asked["GET gone"]
        async with world(service, uploads={ROOT: late}) as (other, _service):
            assert await all_of(other) == BLOCKS
        assert service.asked["GET gone"] == before == 1

    run(work)


# --- lies in an index -------------------------------------------------------------------------------------------------
def _index(places: list[tuple[bytes, int, int]], shard: Blob) -> bytes:
    return encode_index(ROOT, {shard.digest: encode_shard(shard.digest, places)})


async def indexed(tier: StorachaTier, service: Service, raw: bytes) -> None:
    """Let ``raw`` be the index of what was put."""
    digest = CID.of(raw, RAW).multihash
    service.blobs[service.path(digest)] = raw
    upload = tier.uploads[ROOT]
    site = Site((service.url + service.path(digest),))
    tier.uploads[ROOT] = Upload(ROOT, upload.shards, Blob(digest, len(raw), site))


@pytest.mark.parametrize(
    ("offset", "length", "error"),
    [
        (0, 10, HashMismatch),
        (1 << 40, 10, BackendError),
        (0, 1 << 40, BackendError),
        (5, config.MAX_CAR_SECTION_BYTES + 1, BackendError),
        (7, 0, HashMismatch),
    ],
)
def test_a_false_index_gives_nothing(offset: int, length: int, error: type[Exception]) -> None:
    async def work(tier: StorachaTier, service: Service) -> None:
        await put(tier)
        [shard] = tier.uploads[ROOT].shards
        await indexed(tier, service, _index([(ROOT.multihash, offset, length)], shard))
        with pytest.raises(error):
            await tier.get(ROOT)

    run(work)


@pytest.mark.parametrize("raw", [b"", b"no archive", encode_car(CID.of(b"x"), {CID.of(b"x"): b"x"})])
def test_what_is_no_index_is_left_for_the_archives(raw: bytes) -> None:
    async def work(tier: StorachaTier, service: Service) -> None:
        await put(tier)
        await indexed(tier, service, raw)
        assert await tier.get(ROOT) == BLOCKS[0].data
        with pytest.raises((BackendError, NotFound)):
            await tier.get(BLOCKS[5].cid)

    run(work)


def test_an_index_of_other_bytes_is_refused() -> None:
    async def work(tier: StorachaTier, service: Service) -> None:
        await put(tier)
        service.twists["blob"] = lambda data: data[:-1] + bytes([data[-1] ^ 1])
        with pytest.raises(HashMismatch):
            await tier.get(BLOCKS[5].cid)

    run(work)


def test_a_root_without_an_index_is_looked_for_in_its_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(tier: StorachaTier, service: Service) -> None:
        await tier.put(ROOT, stream(BLOCKS[::-1]))
        tier.uploads.clear()
        async with world(service) as (other, _service):
            assert await other.get(ROOT) == BLOCKS[0].data
            monkeypatch.setattr(storacha_read, "STORACHA_SCAN_BYTES", 50_000)
            with pytest.raises(NotFound, match="no index tells"):
                await other.get(ROOT)

    run(work)


def test_indexes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = _index([(ROOT.multihash, 0, 1)], Blob(OTHER))
    assert len(decode_index(raw).places) == 1
    for change in (
        [OTHER],
        [OTHER, 1],
        [b"x", []],
        [OTHER, [[b"x", [0, 1]]]],
        [OTHER, [[OTHER, [0]]]],
        [OTHER, [[OTHER, [-1, 1]]]],
        [OTHER, [[OTHER, [0, 1 << 60]]]],
    ):
        with pytest.raises(InvalidBlock):
            decode_index(encode_index(ROOT, {OTHER: dag_cbor.encode(change)}))
    monkeypatch.setattr("ipfs_kit_py.storage.remote.storacha.shard_index.STORACHA_INDEX_BYTES", len(raw) - 1)
    with pytest.raises(InvalidBlock, match="limit"):
        decode_index(raw)


def test_indexes_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storacha_read, "STORACHA_INDEX_CACHE", 40)

    async def work(tier: StorachaTier, service: Service) -> None:
        dags = [tree(20, 300, seed=seed) for seed in range(4)]
        for blocks in dags:
            await tier.put(blocks[0].cid, stream(blocks))
        for blocks in dags:
            assert await tier.get(blocks[7].cid) == blocks[7].data
        assert len(tier._reader._indexes) == 1
        assert await tier.get(dags[0][3].cid) == dags[0][3].data
        with pytest.raises(NotFound):
            await tier.get(CID.of(b"nowhere"))

    run(work)


# --- claims -----------------------------------------------------------------------------------------------------------
def query(*claims: Delegation) -> bytes:
    blocks: dict[CID, bytes] = {}
    for claim in claims:
        blocks.update(claim.export())
    data = dag_cbor.encode({"index/query/result@0.1": {"claims": [claim.cid for claim in claims], "indexes": {}}})
    root = CID.of(data, DAG_CBOR)
    return encode_car(root, {**blocks, root: data})


def claimed(can: str, nb: dict[str, Any], *, on: str | None = None, expires: int | None = None) -> Delegation:
    return Delegation(issue(NODE, did(NODE), [Capability(can, on or did(NODE), nb)], expires=expires))


def test_claims_of_strangers_lead_to_blocks_and_false_ones_nowhere() -> None:
    async def work(tier: StorachaTier, service: Service) -> None:
        await put(tier)
        upload = tier.uploads[ROOT]
        assert upload.index is not None
        index = upload.index

        async def claims(request: Request) -> Reply | None:
            digest = CID.parse(request.query["multihash"].removeprefix("z")).multihash
            if digest == BLOCKS[5].cid.multihash:
                return Reply(200, query(claimed("assert/index", {"content": ROOT, "index": index.cid})))
            urls = [service.url + service.path(digest)]
            good = {"content": {"digest": digest}, "location": urls}
            return Reply(200, query(
                claimed("assert/location", {**good, "content": {"digest": OTHER}}),
                claimed("assert/location", good, expires=NOW),
                claimed("assert/location", good, on=did(STRANGER)),
                claimed("assert/location", good),
            ))  # fmt: skip

        service.routes["GET claims"] = claims
        reader = right_of(AGENT, "filecoin/offer")
        async with world(service, proofs=[reader], claims=service.url) as (other, _service):
            assert await other.get(BLOCKS[5].cid) == BLOCKS[5].data
            assert await other.has(BLOCKS[6].cid)
            assert await all_of(other, BLOCKS[1].cid) == [BLOCKS[1], *BLOCKS[4:14]]

    run(work)


@pytest.mark.parametrize("body", [b"", b"x", query()[:-1], Message().encode(), bytes(config.UCAN_MESSAGE_BYTES + 1)])
def test_claims_that_are_none_are_refused(body: bytes) -> None:
    async def claims(_request: Request) -> Reply | None:
        return Reply(200, body)

    async def work(tier: StorachaTier, service: Service) -> None:
        service.routes["GET claims"] = claims
        async with world(service, claims=service.url) as (other, _service):
            with pytest.raises(BackendError):
                await other.get(BLOCKS[5].cid)

    run(work)
