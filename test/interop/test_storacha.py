"""The Storacha tier against npm's upload service, which also reads what we put and puts what we read."""

from __future__ import annotations

import hashlib
import json
import random
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py.core.cid import CID, RAW, Block
from ipfs_kit_py.core.errors import BackendError, ConfigError, NotFound, NotSupported
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.dag import codecs
from ipfs_kit_py.dag.car import read_car
from ipfs_kit_py.storage.remote import conformance
from ipfs_kit_py.storage.remote.storacha import api as storacha_api
from ipfs_kit_py.storage.remote.storacha import ucan
from ipfs_kit_py.storage.remote.storacha.did import Unauthorized, did_of
from ipfs_kit_py.storage.remote.storacha.tier import StorachaTier
from ipfs_kit_py.storage.remote.storacha.ucan import Capability, Delegation
from ipfs_kit_py.storage.remote.storacha.uploads import Upload
from test.peers import locate
from test.peers.storacha import Storacha
from test.remote.dags import stream, tree

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.interop

BLOCKS = tree(40, 1 << 18)  # 10 MiB
ROOT = BLOCKS[0].cid
LARGE = tree(96, 1 << 18)  # 24 MiB
SHARD = (8 << 20) + 4096  # the smallest archive that any block fits in


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Storacha]:
    try:
        node, installed = locate.storacha()
    except locate.PeerMissing as error:
        pytest.skip(str(error))
    with Storacha(node, installed, tmp_path / "storacha") as peer:
        yield peer


def did(key: PrivateKey) -> str:
    return did_of(key.public_key)


class Space:
    """A space with a plan, and tiers of agents who may use it."""

    def __init__(self, service: Storacha) -> None:
        self.service = service
        self.owner = PrivateKey.generate()
        self.did = did(self.owner)
        service.provision(self.did)

    def right(self, agent: PrivateKey, *abilities: str, **options: Any) -> Delegation:
        rights = [Capability(ability, self.did) for ability in abilities or ("*",)]
        return Delegation.of(ucan.issue(self.owner, did(agent), rights, **{"expires": None, **options}))

    def tier(self, agent: PrivateKey, *proofs: Delegation, **options: Any) -> StorachaTier:
        service = self.service
        return StorachaTier(
            service.url, service=service.did, service_key=service.key, agent=agent, proofs=proofs, **options
        )

    def simple(self, **options: Any) -> StorachaTier:
        agent = PrivateKey.generate()
        return self.tier(agent, self.right(agent), **options)


def run(work: Callable[[], Awaitable[None]]) -> None:
    trio.run(work)


async def all_of(tier: StorachaTier, root: CID) -> list[Block]:
    return [block async for block in tier.get_dag(root)]


def content(root: CID, blocks: dict[CID, bytes]) -> bytes:
    """A file's bytes from its raw leaves."""
    if root.codec == RAW:
        return blocks[root]
    return b"".join(content(link, blocks) for link in codecs.links(root, blocks[root]))


# --- round trips ------------------------------------------------------------------------------------------------------
def test_a_dag_is_put_listed_and_comes_back(service: Storacha, tmp_path: Path) -> None:
    space = Space(service)

    async def work() -> None:
        tier = space.simple()
        assert tier.verbs == {"get", "get_dag", "has", "put", "remove", "status"}
        assert (await tier.health()).ok
        with pytest.raises(NotFound):
            await tier.status(ROOT)
        assert not await tier.has(ROOT)
        status = await tier.put(ROOT, stream(BLOCKS), label="not sent")
        assert (status.state, status.safe, len(status.detail)) == ("stored", True, 1)
        status = await tier.status(ROOT)
        assert (status.state, status.safe, list(status.detail.values())) == ("stored", True, ["registered"])
        assert await all_of(tier, ROOT) == BLOCKS
        assert await tier.get(ROOT) == BLOCKS[0].data
        assert await tier.get(BLOCKS[17].cid) == BLOCKS[17].data
        assert await tier.has(BLOCKS[17].cid)
        assert not await tier.has(CID.of(b"never put"))
        assert [(found.root, len(found.shards)) async for found in tier.list_uploads()] == [(ROOT, 1)]
        assert service.holds(space.did) == {"blobs": 2, "uploads": 1}
        check_index(service, tier.uploads[ROOT], BLOCKS, tmp_path)
        await tier.aclose()

    run(work)


def check_index(service: Storacha, upload: Upload, blocks: list[Block], folder: Path) -> None:
    """The service's own library finds each block by our index, in archives that are what their names say."""
    index = service.index(str(upload.root))
    assert index["content"] == str(upload.root)
    found = set()
    for row in index["shards"]:
        service.blob(row["shard"], folder / "shard")
        raw = (folder / "shard").read_bytes()
        assert CID.parse(_raw_name(row["shard"])).digest == hashlib.sha256(raw).digest()
        assert read_car(raw).header.roots == [upload.root]
        for name, offset, length in row["slices"]:
            assert CID.parse(_raw_name(name)).verify(raw[offset : offset + length])
            found.add(CID.parse(_raw_name(name)).multihash)
    assert found == {block.cid.multihash for block in blocks} | {shard.digest for shard in upload.shards}


def _raw_name(multihash: str) -> str:
    """The text of a multihash (base58btc) as a CID's: of version 0 where it is one."""
    return multihash.removeprefix("z")


def test_several_archives(service: Storacha, tmp_path: Path) -> None:
    space = Space(service)
    root = LARGE[0].cid

    async def work() -> None:
        tier = space.simple(shard_bytes=SHARD, folder=tmp_path)
        status = await tier.put(root, stream(LARGE[::-1]))
        assert len(status.detail) == 4
        assert sorted(await all_of(tier, root)) == sorted(LARGE)
        check_index(service, tier.uploads[root], LARGE, tmp_path)
        other = space.simple(folder=tmp_path)  # which remembers nothing
        found = await all_of(other, root)
        assert found[0] == LARGE[0]
        assert sorted(found) == sorted(LARGE)
        assert await other.get(root) == LARGE[0].data
        for each in (tier, other):
            await each.aclose()

    run(work)


def test_what_is_put_again_is_not_sent_again(service: Storacha) -> None:
    space = Space(service)

    async def work() -> None:
        tier = space.simple()
        await tier.put(ROOT, stream(BLOCKS))
        before = service.counts()["put"]
        assert (await tier.put(ROOT, stream(BLOCKS))).safe
        assert service.counts()["put"] == before
        assert service.holds(space.did) == {"blobs": 2, "uploads": 1}
        await tier.aclose()

    run(work)


def test_a_put_that_stopped_in_the_middle_goes_on_after_a_restart(service: Storacha) -> None:
    space = Space(service)
    root = LARGE[0].cid

    class Stop(Exception):
        pass

    class Stopping(stream):
        def __init__(self, blocks: list[Block], after: int) -> None:
            super().__init__(blocks)
            self.left = after

        async def __anext__(self) -> Block:
            self.left -= 1
            if self.left < 0:
                raise Stop
            return await super().__anext__()

    async def work() -> None:
        tier = space.simple(shard_bytes=SHARD)
        with pytest.raises(Stop):
            await tier.put(root, Stopping(LARGE, 80))
        await tier.aclose()
        sent = service.counts()
        assert sent["put"] == 2
        with pytest.raises(NotFound):
            await tier_status(root)
        again = space.simple(shard_bytes=SHARD)
        assert (await again.put(root, stream(LARGE))).safe
        counts = service.counts()
        assert counts["put"] - sent["put"] == 3  # two archives and the index
        assert counts["putBytes"] - sent["putBytes"] < 10 << 20
        assert await all_of(again, root) == LARGE
        await again.aclose()

    async def tier_status(cid: CID) -> None:
        tier = space.simple()
        try:
            await tier.status(cid)
        finally:
            await tier.aclose()

    run(work)


def test_what_is_remembered_outlives_the_tier(service: Storacha) -> None:
    space = Space(service)

    async def work() -> None:
        tier = space.simple()
        await tier.put(ROOT, stream(BLOCKS))
        await tier.aclose()
        kept = json.loads(json.dumps(tier.uploads[ROOT].to_json()))
        upload = Upload.from_json(kept)
        assert upload == tier.uploads[ROOT]
        agent = PrivateKey.generate()
        reader = space.tier(agent, space.right(agent, "upload/list"), uploads={ROOT: upload})  # no right to ask where
        assert await reader.get(BLOCKS[20].cid) == BLOCKS[20].data
        assert await all_of(reader, ROOT) == BLOCKS
        below = await all_of(reader, BLOCKS[1].cid)
        assert below[0] == BLOCKS[1]
        assert len(below) == 11
        await reader.aclose()

    run(work)
    with pytest.raises(ConfigError):
        Upload.from_json({"root": str(ROOT)})


# --- removing ---------------------------------------------------------------------------------------------------------
def test_removing_takes_what_no_other_upload_needs(service: Storacha) -> None:
    space = Space(service)
    root, other = LARGE[0].cid, BLOCKS[1].cid

    async def work() -> None:
        tier = space.simple(shard_bytes=SHARD)
        await tier.put(root, stream(LARGE))
        shards = tier.uploads[root].shards
        await tier._api.invoke("upload/add", {"root": other, "shards": [shards[1].cid]})
        await tier.remove(root)
        assert service.holds(space.did) == {"blobs": 1, "uploads": 1}
        with pytest.raises(NotFound):
            await tier.status(root)
        with pytest.raises(NotFound):
            await all_of(tier, root)
        assert list((await tier.status(other)).detail) == [str(shards[1].cid)]
        await tier.remove(other)
        assert service.holds(space.did) == {"blobs": 0, "uploads": 0}
        await tier.remove(other)
        await tier.aclose()

    run(work)


def test_the_index_is_removed_too_where_a_claim_names_it(service: Storacha) -> None:
    space = Space(service)

    async def work() -> None:
        await (first := space.simple()).put(ROOT, stream(BLOCKS))
        second = space.simple(claims=service.url)
        await second.remove(ROOT)
        assert service.holds(space.did) == {"blobs": 0, "uploads": 0}
        for tier in (first, second):
            await tier.aclose()

    run(work)


def test_lost_archives_are_told(service: Storacha) -> None:
    space = Space(service)

    async def work() -> None:
        tier = space.simple()
        await tier.put(ROOT, stream(BLOCKS))
        await tier._api.invoke("space/blob/remove", {"digest": tier.uploads[ROOT].shards[0].digest})
        status = await tier.status(ROOT)
        assert (status.state, status.safe, status.replicas) == ("lost", False, 0)
        await tier.aclose()

    run(work)


# --- rights -----------------------------------------------------------------------------------------------------------
def test_a_right_is_passed_on(service: Storacha) -> None:
    """The owner gives all to one agent, who gives less to another."""
    space = Space(service)
    first, second, third = (PrivateKey.generate() for _ in range(3))
    whole = space.right(first)

    def passed(to: PrivateKey, *abilities: str) -> Delegation:
        rights = [Capability(ability, space.did) for ability in abilities]
        return Delegation.of(ucan.issue(first, did(to), rights, expires=None, proofs=[whole.cid]), [whole])

    async def work() -> None:
        writer = space.tier(second, passed(second, "space/blob/add", "space/index/add", "upload/add"))
        assert writer.verbs == {"get", "get_dag", "has", "put"}
        await writer.put(ROOT, stream(BLOCKS))
        with pytest.raises(NotSupported, match="upload/remove"):
            await writer.remove(ROOT)
        with pytest.raises(Unauthorized, match="no right to upload/get"):
            await writer.status(ROOT)
        text = ucan.proof_text(passed(third, "space/blob/get/0/1", "upload/get"))  # as it would be sent
        reader = space.tier(third, ucan.parse_proof(text))
        assert reader.verbs == {"get", "get_dag", "has", "status"}
        assert (await reader.status(ROOT)).safe
        assert await all_of(reader, ROOT) == BLOCKS
        with pytest.raises(NotSupported, match="space/blob/add"):
            await reader.put(ROOT, stream(BLOCKS))
        for tier in (writer, reader):
            await tier.aclose()

    run(work)


def test_the_owner_needs_no_delegation(service: Storacha) -> None:
    space = Space(service)

    async def work() -> None:
        tier = space.tier(space.owner, space=space.did)
        await tier.put(ROOT, stream(BLOCKS))
        assert await all_of(tier, ROOT) == BLOCKS
        await tier.aclose()

    run(work)


def test_a_wrong_delegation_is_told(service: Storacha) -> None:
    space = Space(service)
    agent, stranger = PrivateKey.generate(), PrivateKey.generate()
    with pytest.raises(ConfigError, match="a delegation is for did:key"):
        space.tier(stranger, space.right(agent))
    with pytest.raises(ConfigError, match="name no space"):
        space.tier(agent)
    forged = ucan.issue(stranger, did(agent), [Capability("*", space.did)], expires=None)
    unpaid = Delegation.of(ucan.issue(stranger, did(agent), [Capability("*", did(stranger))], expires=None))
    late = space.right(agent, expires=1_700_000_000)

    async def refused(tier: StorachaTier, error: type[BackendError], match: str) -> None:
        with pytest.raises(error, match=match) as found:
            await tier.put(ROOT, stream(BLOCKS))
        assert found.type is error
        await tier.aclose()

    async def work() -> None:
        await refused(space.tier(agent, Delegation(forged)), Unauthorized, "no right .* no proof leads to the owner")
        await refused(space.tier(agent, late), Unauthorized, "expired")
        # what only the service can know: its own clock, and who has a plan
        await refused(space.tier(agent, late, clock=lambda: 1.6e9), Unauthorized, "refuses space/blob/add.*expired")
        await refused(space.tier(agent, unpaid), BackendError, "InsufficientStorage.*no storage provider")
        assert service.holds(space.did) == {"blobs": 0, "uploads": 0}

    run(work)


def test_another_service_is_not_believed(service: Storacha) -> None:
    """The endpoint answers, but its receipts are signed by another key than was configured."""
    space = Space(service)
    agent = PrivateKey.generate()
    key = did(PrivateKey.generate())

    async def work() -> None:
        tier = StorachaTier(service.url, service=service.did, service_key=key, agent=agent, proofs=[space.right(agent)])
        with pytest.raises(Unauthorized, match="said to be signed"):
            await tier.put(ROOT, stream(BLOCKS))
        health = await tier.health()
        assert not health.ok
        assert "said to be signed" in health.detail
        await tier.aclose()

    run(work)


# --- receipts and claims ----------------------------------------------------------------------------------------------
def test_receipts_that_come_late_are_waited_for(service: Storacha, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storacha_api, "POLL_SECONDS", 0.001)
    space = Space(service)

    async def work() -> None:
        tier = space.simple()
        service.late_receipts(3)
        assert (await tier.put(ROOT, stream(BLOCKS))).safe
        assert await all_of(tier, ROOT) == BLOCKS
        await tier.aclose()

    run(work)


@pytest.mark.parametrize("claims", [False, True])
def test_what_the_services_own_client_uploaded_is_read(service: Storacha, tmp_path: Path, claims: bool) -> None:
    data = random.Random(3).randbytes(10 << 20)
    (tmp_path / "file").write_bytes(data)
    agent = PrivateKey.generate()
    uploaded = service.upload(tmp_path / "file", did(agent), 3 << 20)
    root = CID.parse(uploaded["root"])
    right = ucan.parse_proof(uploaded["archive"])

    async def work() -> None:
        tier = StorachaTier(
            service.url, service=service.did, service_key=service.key, agent=agent, proofs=[right],
            space=uploaded["space"], claims=service.url if claims else None,
        )  # fmt: skip
        assert len((await tier.status(root)).detail) >= 4
        blocks = {block.cid: bytes(block.data) async for block in tier.get_dag(root)}
        assert content(root, blocks) == data
        assert await tier.get(root) == blocks[root]
        leaf = codecs.links(root, blocks[root])[7]
        if claims:
            assert await tier.get(leaf) == blocks[leaf]
            assert [block.cid async for block in tier.get_dag(leaf)] == [leaf]
        else:
            with pytest.raises(NotFound):
                await tier.get(leaf)
        await tier.remove(root)
        assert service.holds(uploaded["space"])["uploads"] == 0
        await tier.aclose()

    run(work)


def test_it_conforms(service: Storacha, tmp_path: Path) -> None:
    async def work() -> None:
        tier = Space(service).simple(folder=tmp_path)
        applied = await conformance.check(tier, seconds=20.0)
        assert all(applied.values())
        await tier.aclose()

    run(work)
