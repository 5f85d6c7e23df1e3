"""An upload service with one storage node, scripted: it keeps to the protocol but for what a test twists.

Written from what npm's ``@storacha/upload-api`` 2.8.4 answers, which the tier is tested against in ``test/interop``.
``twists`` change one thing each, by name; ``routes`` of a test come before the service's own.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.crypto.keys import ED25519, PrivateKey
from ipfs_kit_py.dag import dag_cbor
from ipfs_kit_py.storage.remote.storacha.did import did_bytes, did_of, signature_bytes
from ipfs_kit_py.storage.remote.storacha.tier import StorachaTier
from ipfs_kit_py.storage.remote.storacha.ucan import Capability, Delegation, issue
from ipfs_kit_py.storage.remote.storacha.ucan_message import Message, Receipt
from test.remote.dags import stream, tree
from test.remote.loopback import Reply, Request, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from trio.abc import Clock

    from ipfs_kit_py.core.cid import Block

SERVICE = "did:web:up.example.org"
NOW = 1_800_000_000


def key(number: int) -> PrivateKey:
    return PrivateKey(ED25519, Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


def did(of: PrivateKey) -> str:
    return did_of(of.public_key)


SPACE, AGENT, NODE, SERVICE_KEY, STRANGER = (key(number) for number in range(21, 26))


class Refused(Exception):
    """The error of a receipt: name and message."""


class Service:
    """Routes: ``POST /``, ``GET /receipt/{task}``, and the storage node's ``PUT`` and ``GET /blob/{multihash}``."""

    def __init__(self) -> None:
        self.url = ""
        self.blobs: dict[str, bytes] = {}
        self.space: dict[bytes, tuple[int, CID]] = {}  # blobs by multihash: size and cause
        self.uploads: dict[CID, list[CID]] = {}
        self.receipts: dict[CID, tuple[Receipt, dict[CID, bytes]]] = {}
        self.tasks: dict[CID, Delegation] = {}
        self.asked: Counter[str] = Counter()
        self.twists: dict[str, Callable[..., Any]] = {}
        self.routes: dict[str, Callable[[Request], Awaitable[Reply | None]]] = {}
        self.ranges = True

    def twisted(self, name: str, value: Any) -> Any:
        twist = self.twists.get(name)
        return value if twist is None else twist(value)

    # --- HTTP ---------------------------------------------------------------------------------------------------------
    async def __call__(self, request: Request) -> Reply:
        first = request.path.split("/")[1]
        name = f"{request.method} {first}".strip()
        self.asked[name] += 1
        if (route := self.routes.get(name)) is not None and (reply := await route(request)) is not None:
            return reply
        match name:
            case "POST":
                return Reply(200, self.answer(await request.body()))
            case "GET receipt":
                found = self.receipts.get(CID.parse(request.path.split("/")[2]))
                return (
                    Reply(404) if found is None else Reply(200, self.twisted("poll", Message.of((), [found]).encode()))
                )
            case "PUT blob":
                self.blobs[request.path] = await request.body()
                return Reply(200)
            case "GET blob":
                return self.blob(request)
        return Reply(404)

    def blob(self, request: Request) -> Reply:
        data = self.blobs.get(request.path)
        if data is None:
            return Reply(404)
        data = self.twisted("blob", data)
        asked = request.headers.get("range", "")
        if not asked or not self.ranges:
            return Reply(200, data)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first), int(last) + 1 if last else len(data)
        return Reply(206, data[start:end], {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"})

    # --- UCAN ---------------------------------------------------------------------------------------------------------
    def answer(self, raw: bytes) -> bytes:
        message = Message.decode(raw)
        done = []
        for link in message.execute:
            task = Delegation.view(link, message.blocks)
            [right] = task.ucan.capabilities
            self.asked[right.can] += 1
            blocks: dict[CID, bytes] = {}
            forks: list[CID] = []
            try:
                ok = self.run(task, right, forks, blocks)
                outcome: Any = {"ok": ok}
            except Refused as error:
                outcome = {"error": {"name": error.args[0], "message": error.args[1]}}
            done.append((self.signed(link, outcome, forks), blocks))
            self.receipts[link] = done[-1]
        return self.twisted("answer", Message.of((), done).encode())

    def signed(self, task: CID, outcome: dict[str, Any], forks: list[CID]) -> Receipt:
        ran = self.twisted("ran", task)
        signer = self.twisted("signer", SERVICE_KEY)
        issuer = self.twisted("issuer", SERVICE)
        if "ok" in outcome:
            return Receipt.issue(signer, ran, outcome["ok"], issuer=issuer, forks=forks)
        return failed(signer, ran, outcome["error"], issuer)

    def run(self, task: Delegation, right: Capability, forks: list[CID], blocks: dict[CID, bytes]) -> Any:
        nb = right.nb
        self.twisted(right.can, nb)
        match right.can:
            case "space/blob/add":
                return self.add(task, nb["blob"], forks, blocks)
            case "ucan/conclude":
                self.concluded(Receipt.decode(task.blocks[nb["receipt"]]))
                return {"time": NOW}
            case "space/index/add":
                return {}
            case "upload/add":
                self.uploads[nb["root"]] = nb["shards"]
                return {"root": nb["root"], "shards": nb["shards"]}
            case "upload/get" | "upload/remove":
                if nb["root"] not in self.uploads:
                    raise Refused("UploadNotFound", f"no {nb['root']}")
                shards = self.uploads[nb["root"]]
                if right.can == "upload/remove":
                    del self.uploads[nb["root"]]
                return self.twisted("upload", {"root": nb["root"], "shards": shards})
            case "upload/list":
                rows = [{"root": root, "shards": shards} for root, shards in self.uploads.items()]
                return self.twisted("page", {"size": len(rows), "results": rows})
            case "space/blob/get/0/1":
                if nb["digest"] not in self.space:
                    raise Refused("BlobNotFound", "no such blob")
                size, cause = self.space[nb["digest"]]
                return {"blob": {"digest": nb["digest"], "size": size}, "cause": self.twisted("cause", cause)}
            case "space/blob/remove":
                return {"size": self.space.pop(nb["digest"], (0, None))[0]}
        raise Refused("HandlerNotFound", right.can)

    def add(self, task: Delegation, blob: dict[str, Any], forks: list[CID], blocks: dict[CID, bytes]) -> Any:
        digest = blob["digest"]
        there = self.path(digest) in self.blobs
        common = {"blob": blob, "space": did_bytes(did(SPACE))}
        allocate = self.task("allocate", "blob/allocate", {**common, "cause": task.cid})
        secret = key(digest[-1])
        put = self.put_task(secret, blob, allocate.cid)
        accept = self.task("accept", "blob/accept", {**common, "_put": {"ucan/await": [".out.ok", put.cid]}})
        address = {"url": self.url + self.path(digest), "headers": {"x-checksum": digest.hex()}, "expires": 86400}
        allocated = (
            {"size": blob["size"]} if there else {"size": blob["size"], "address": self.twisted("address", address)}
        )
        node = self.twisted("node", NODE)
        receipts = [self.twisted("allocated", Receipt.issue(node, allocate.cid, allocated))]
        if there:
            receipts.append(self.twisted("delivered", Receipt.issue(secret, put.cid, {})))
        for item in (allocate, put, accept):
            forks.append(item.cid)
            blocks.update(item.export())
            self.tasks[item.cid] = item
        for receipt in receipts:
            blocks.update(self.concluding(receipt))
        self.receipts[allocate.cid] = (receipts[0], {})
        self.space.setdefault(digest, (blob["size"], task.cid))
        if there:
            self.accepted(accept)
            blocks.update(self.concluding(*self.receipts[accept.cid]))
        forks[:] = self.twisted("forks", forks)
        return {"site": {"ucan/await": [".out.ok.site", accept.cid]}}

    @staticmethod
    def path(digest: bytes) -> str:
        return f"/blob/{digest.hex()}"

    def task(self, name: str, can: str, nb: dict[str, Any]) -> Delegation:
        right = Capability(can, did(NODE), self.twisted(f"{name} nb", nb))
        giver = self.twisted(f"{name} proof", NODE)
        proof = Delegation(issue(giver, SERVICE, [Capability("blob/*", did(NODE))], expires=None))
        signer = self.twisted(f"{name} signer", SERVICE_KEY)
        expires = self.twisted(f"{name} expires", None)
        signed = issue(signer, did(NODE), [right], expires=expires, issuer=SERVICE, proofs=[proof.cid])
        return Delegation.of(signed, [proof])

    def put_task(self, secret: PrivateKey, blob: dict[str, Any], allocate: CID) -> Delegation:
        name = did(secret)
        raw = b"\x80\x26" + bytes([blob["digest"][-1]]) * 32 + b"\xed\x01" + secret.public_key.data
        facts = self.twisted("put facts", [{"keys": {"id": name, "keys": {name: raw}}}])
        nb = {"body": blob, "url": {"ucan/await": [".out.ok.address.url", allocate]}}
        right = Capability("http/put", name, self.twisted("put nb", nb))
        signer = self.twisted("put signer", secret)
        return Delegation(issue(signer, name, [right], expires=None, facts=facts, issuer=name))

    def concluding(self, receipt: Receipt, blocks: dict[CID, bytes] | None = None) -> dict[CID, bytes]:
        right = Capability("ucan/conclude", SERVICE, {"receipt": receipt.cid})
        signed = issue(SERVICE_KEY, SERVICE, [right], expires=None, issuer=SERVICE)
        return {**(blocks or {}), **Delegation.of(signed, (), {receipt.cid: receipt.data}).export()}

    def concluded(self, receipt: Receipt) -> None:
        put = self.tasks[receipt.ran]
        receipt.check(put.cid, put.ucan.issuer, {})
        for task in list(self.tasks.values()):
            nb = task.ucan.capabilities[0].nb
            if task.ucan.capabilities[0].can == "blob/accept" and nb["_put"]["ucan/await"][1] == put.cid:
                self.accepted(task)

    def accepted(self, accept: Delegation) -> None:
        digest = accept.ucan.capabilities[0].nb["blob"]["digest"]
        nb = {
            "content": {"digest": digest},
            "location": [self.url + self.path(digest)],
            "space": did_bytes(did(SPACE)),
        }
        signer = self.twisted("claim signer", NODE)
        on = self.twisted("claim on", did(NODE))
        expires = self.twisted("claim expires", None)
        right = Capability("assert/location", on, self.twisted("claim nb", nb))
        claim = Delegation(issue(signer, did(SPACE), [right], expires=expires, issuer=did(NODE)))
        node = self.twisted("accept node", NODE)
        ok = self.twisted("accept ok", {"site": claim.cid})
        receipt = Receipt.issue(node, accept.cid, ok, forks=[claim.cid])
        receipt = self.twisted("accepted", receipt)
        if receipt is not None:
            self.receipts[accept.cid] = (receipt, claim.export())


def failed(signer: PrivateKey, task: CID, error: dict[str, Any], issuer: str) -> Receipt:
    """A signed receipt of an error."""
    from_ok = Receipt.issue(signer, task, {}, issuer=issuer)
    return resigned(from_ok, signer, out={"error": error})


def resigned(receipt: Receipt, signer: PrivateKey, **changes: Any) -> Receipt:
    """A receipt with other fields of its outcome, signed anew."""
    outcome = {**dag_cbor.decode(receipt.data)["ocm"], **changes}
    return Receipt.decode(dag_cbor.encode({"ocm": outcome, "sig": signature_bytes(signer, dag_cbor.encode(outcome))}))


def right_of(agent: PrivateKey, *abilities: str, **options: Any) -> Delegation:
    rights = [Capability(ability, did(SPACE)) for ability in abilities or ("*",)]
    return Delegation(issue(SPACE, did(agent), rights, **{"expires": None, **options}))


@asynccontextmanager
async def world(scripted: Service | None = None, **options: Any) -> AsyncIterator[tuple[StorachaTier, Service]]:
    """A tier and the service that it speaks to."""
    service = scripted or Service()
    async with serving(service) as url:
        service.url = url
        options = {
            "service": SERVICE, "service_key": did(SERVICE_KEY), "agent": AGENT, "proofs": [right_of(AGENT)],
            "clock": lambda: float(NOW), "rng": random.Random(1), "seconds": 10.0, "wait": 10.0, **options,
        }  # fmt: skip
        tier = StorachaTier(options.pop("endpoint", url), **options)
        try:
            yield tier, service
        finally:
            await tier.aclose()


# --- for tests --------------------------------------------------------------------------------------------------------
BLOCKS = tree(25, 5000)
ROOT = BLOCKS[0].cid
OTHER = CID.of(b"another blob").multihash  # never put


def run(
    work: Callable[[StorachaTier, Service], Awaitable[None]],
    clock: Clock | None = None,
    **options: Any,
) -> None:
    async def main() -> None:
        async with world(**options) as (tier, found):
            await work(tier, found)

    trio.run(main, clock=clock)


async def all_of(tier: StorachaTier, root: CID = ROOT) -> list[Block]:
    return [one async for one in tier.get_dag(root)]


async def put(tier: StorachaTier) -> Any:
    return await tier.put(ROOT, stream(BLOCKS))


def always(value: Any) -> Callable[[Any], Any]:
    return lambda _value: value


def having(**changes: Any) -> Callable[[Any], Any]:
    return lambda value: {**value, **changes}
