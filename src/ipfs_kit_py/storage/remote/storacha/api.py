"""Requests to a Storacha service: invocations and their receipts, claims about blobs, bytes to and from storage nodes.

Requests go to the configured service, and to the addresses of blobs that it or a claim names: never from https to
http, and only to ``hosts`` where those are set. Source: storacha/specs w3-blob.md, w3-index.md; ucanto's transport.
"""

from __future__ import annotations

import secrets
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import libipld
import trio

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import (
    API_ERROR_CHARS,
    API_SECONDS,
    API_UPLOAD_FLOOR,
    POLL_MAX_SECONDS,
    POLL_SECONDS,
    UCAN_INLINE_BYTES,
    UCAN_LIFE_SECONDS,
    UCAN_MESSAGE_BYTES,
)
from ipfs_kit_py.core.errors import BackendError, ConfigError, InvalidBlock, InvalidCID, NotFound, TimedOut
from ipfs_kit_py.core.text import printable
from ipfs_kit_py.dag import dag_cbor
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.remote.base import Transient
from ipfs_kit_py.storage.remote.http.api import Api
from ipfs_kit_py.storage.remote.http.client import Answer, checked_url
from ipfs_kit_py.storage.remote.http.origins import is_inside
from ipfs_kit_py.storage.remote.storacha.blob import Judge, failure
from ipfs_kit_py.storage.remote.storacha.did import Unauthorized, check_did, did_of, verifying_key
from ipfs_kit_py.storage.remote.storacha.ucan import Capability, Delegation, decode_car, issue
from ipfs_kit_py.storage.remote.storacha.ucan_chain import Trust, authorise
from ipfs_kit_py.storage.remote.storacha.ucan_message import Message, Receipt
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    import random
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence

    from ipfs_kit_py.crypto.keys import PrivateKey

CAR_TYPE = "application/vnd.ipld.car"
_MISSING = frozenset(
    {"UploadNotFound", "BlobNotFound", "RecordNotFound", "EntryNotFound", "IndexNotFound", "ShardNotFound"}
)


class StorachaApi:
    """A service at ``endpoint`` whose DID is ``service``; ``service_key`` is its ``did:key`` where it is of another
    method. ``agent`` signs what is asked, by the right of ``proofs``, about ``space``."""

    def __init__(
        self,
        endpoint: str,
        *,
        service: str,
        service_key: str | None,
        agent: PrivateKey,
        proofs: Sequence[Delegation],
        space: str | None,
        rng: random.Random,
        clock: Callable[[], float],
        receipts: str | None = None,
        claims: str | None = None,
        hosts: Collection[str] | None = None,
        seconds: float = API_SECONDS,
        wait: float = API_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.http = Api(endpoint, rng=rng, seconds=seconds, tls=tls)
        self.host = self.http.host
        self._receipts = checked_url(receipts or f"{self.http.base}/receipt")
        self._claims = checked_url(claims) if claims else None
        self._hosts = None if hosts is None else frozenset(hosts)
        self._agent = agent
        self._proofs = tuple(proofs)
        self._clock = clock
        self._wait = wait
        try:
            self.agent = did_of(agent.public_key)
            keys = {} if service_key is None else {check_did(service): check_did(service_key)}
            verifying_key(check_did(service), keys)
            self.space = check_did(space or _only_space(self._proofs))
        except (InvalidBlock, Unauthorized) as error:
            raise ConfigError(f"the service at {self.host}: {error}") from None
        self.judge = Judge(service, self.space, Trust(keys, service))
        self._check_proofs()

    def __repr__(self) -> str:
        return f"<StorachaApi {self.http.base} {self.space} as {self.agent}>"

    def _check_proofs(self) -> None:
        """``ConfigError`` where a delegation is not for this agent: no time or right makes that good."""
        for proof in self._proofs:
            if proof.ucan.audience != self.agent:
                raise ConfigError(f"a delegation is for {proof.ucan.audience}, but the agent's key is {self.agent}")

    async def aclose(self) -> None:
        await self.http.aclose()

    @property
    def now(self) -> float:
        return self._clock()

    # --- rights -------------------------------------------------------------------------------------------------------
    def gives(self, can: str) -> bool:
        """Whether the delegations speak of this ability in the space, whatever else they say."""
        right = Capability(can, self.space)
        return self.agent == self.space or any(
            Capability(item.can, item.on).covers(right) for proof in self._proofs for item in proof.ucan.capabilities
        )

    def _proofs_for(self, right: Capability) -> list[Delegation]:
        """The delegations to send along; ``Unauthorized`` where none gives the right."""
        if right.on == self.agent:
            return []
        reasons = []
        for proof in self._proofs:
            try:
                authorise(proof, right, self.judge.trust, self.now, self._proofs)
            except Unauthorized as error:
                reasons.append(str(error))
                continue
            return [proof, *(other for other in self._proofs if _attests(other, proof))]
        why = "; ".join(reasons[:3]) or "no delegation is configured"
        raise Unauthorized(f"{self.agent} has no right to {right.can} on {right.on}: {why}")

    # --- invocations --------------------------------------------------------------------------------------------------
    async def invoke(
        self, can: str, nb: Mapping[str, Any], *, attached: Mapping[CID, bytes] | None = None, on: str | None = None
    ) -> tuple[Receipt, Message]:
        """Ask for one thing; the service's checked receipt, and the message that it came in.

        ``NotFound`` where the service knows no such upload or blob, ``Unauthorized`` where we have no right,
        ``BackendError`` for whatever else it refuses.
        """
        right = Capability(can, on or self.space, dict(nb))
        proofs = self._proofs_for(right)
        asked = issue(
            self._agent,
            self.judge.service,
            [right],
            expires=int(self.now) + UCAN_LIFE_SECONDS,
            proofs=[proof.cid for proof in proofs],
            facts=[{str(at): link for at, link in enumerate(attached)}] if attached else (),
            nonce=secrets.token_urlsafe(12),  # else the service would answer a question asked again from its memory
        )
        invocation = Delegation.of(asked, proofs, attached)
        headers = {"Content-Type": CAR_TYPE, "Accept": CAR_TYPE}
        body = Message.of([invocation]).encode()
        try:
            answer = await self.http.call("POST", "", headers=headers, value=body, limit=UCAN_MESSAGE_BYTES)
        except NotFound as error:
            raise BackendError(f"there is no upload service: {error}") from None
        with self.judging():
            message = await _read(answer.body)
            receipt = message.receipt(invocation.cid)
            if receipt is None:
                raise BackendError(f"{self.host} answers {can} without a receipt")
            receipt.check(invocation.cid, self.judge.service, self.judge.trust.keys)
        if receipt.error is not None:
            self._refused(can, receipt)
        return receipt, message

    def _refused(self, can: str, receipt: Receipt) -> None:
        name, text = failure(receipt)
        text = printable(" ".join(text.split()))[:API_ERROR_CHARS]
        message = f"{self.host} refuses {can}: {printable(name)[:80]}: {text}"
        if name in _MISSING:
            raise NotFound(message)
        if name == "Unauthorized":
            raise Unauthorized(message)
        raise BackendError(message)

    async def ask(self, can: str, nb: Mapping[str, Any]) -> dict[str, Any]:
        """``invoke`` for what answers with a map."""
        receipt, _message = await self.invoke(can, nb)
        if not isinstance(receipt.ok, dict):
            raise BackendError(f"{self.host} answers {can} with {type(receipt.ok).__name__}")
        return receipt.ok

    async def conclude(self, receipt: Receipt) -> None:
        """Tell the service what came of a task."""
        await self.invoke(
            "ucan/conclude", {"receipt": receipt.cid}, attached={receipt.cid: receipt.data}, on=self.agent
        )

    async def receipt(self, task: CID) -> tuple[Receipt, Message]:
        """The receipt of a task, unproven; ``NotFound`` where there is none (yet)."""
        url = self._receipts._replace(path=f"{self._receipts.path.rstrip('/')}/{task}")
        answer = await self.http.call("GET", url, limit=UCAN_MESSAGE_BYTES)
        with self.judging():
            message = await _read(answer.body)
            found = message.receipt(task)
        if found is None:
            raise NotFound(f"{self.host} answers without the receipt of {task}")
        return found, message

    async def wait_receipt(self, task: CID) -> tuple[Receipt, Message]:
        """``receipt`` as soon as there is one; ``TimedOut`` after the configured wait."""
        pause = POLL_SECONDS
        with trio.move_on_after(self._wait):
            while True:
                try:
                    return await self.receipt(task)
                except NotFound:
                    await trio.sleep(pause)
                    pause = min(2 * pause, POLL_MAX_SECONDS)
        raise TimedOut(f"{self.host} gave no receipt of {task} within {self._wait:g} s")

    # --- claims -------------------------------------------------------------------------------------------------------
    async def claims(self, digest: bytes) -> tuple[list[Delegation], Mapping[CID, bytes]]:
        """What the indexing service has been told of a multihash: claims, unproven, and all blocks that came along.
        Nothing where none is configured."""
        if self._claims is None:
            return [], {}
        url = self._claims._replace(path=f"{self._claims.path.rstrip('/')}/claims")
        name = str(libipld.encode_multibase("z", digest))
        try:
            answer = await self.http.call("GET", url, params={"multihash": name}, limit=UCAN_MESSAGE_BYTES)
        except NotFound:
            return [], {}
        with self.judging():
            blocks = await threads.run(Pool.WORK, _query, answer.body)
        return blocks

    # --- bytes --------------------------------------------------------------------------------------------------------
    async def put(
        self, url: str, headers: Mapping[str, str], body: Callable[[], AsyncIterator[bytes]], size: int
    ) -> None:
        """Bring a blob to a storage node."""
        seconds = self.http.seconds + size / API_UPLOAD_FLOOR
        try:
            await self.http.call("PUT", self.site(url), headers=headers, body=body, size=size, seconds=seconds)
        except NotFound as error:
            raise BackendError(f"a storage node takes no blob: {error}") from None

    async def read(self, url: str, start: int, length: int | None) -> AsyncGenerator[bytes, None]:
        """``length`` bytes from ``start`` (to the end for ``None``) as they come, whether or not the host serves
        ranges. ``Transient`` where they are cut."""
        if length == 0:
            return
        end = "" if length is None else str(start + length - 1)
        headers = {"Range": f"bytes={start}-{end}"} if start or length is not None else {}
        skip, left = start, length
        async with aclosing(self.http.stream(self.site(url), headers=headers)) as parts:
            async for part in parts:
                if isinstance(part, Answer):
                    skip = self._skipped(part, start)
                    continue
                view = part[skip : None if left is None else skip + left]
                skip = max(0, skip - len(part))
                if left is not None:
                    left -= len(view)
                if view:
                    yield view
                if left == 0:
                    return
        if left:
            raise Transient(f"a storage node gave {left} bytes less than were asked for")

    def _skipped(self, answer: Answer, start: int) -> int:
        """How much of an answer is in front of what was asked for."""
        if answer.status != 206:
            return start
        said = answer.headers.get("content-range", "")
        if not said.startswith(f"bytes {start}-"):
            raise BackendError(f"{answer.what}: gives another range than was asked for")
        return 0

    def site(self, url: str) -> SplitResult:
        """An address that was named to us, if requests may go there; else ``BackendError``."""
        try:
            found = urlsplit(url)
            valid = url.isascii() and url.isprintable() and " " not in url
        except ValueError:
            valid = False
        if not valid:
            raise BackendError("a blob's address is no URL")
        if found.scheme != "https" and (found.scheme != "http" or self.http.scheme == "https"):
            raise BackendError(f"a blob's address begins with {found.scheme[:20]}://, which is refused here")
        try:
            checked_url(f"{found.scheme}://{found.netloc}")
        except ConfigError:
            raise BackendError("a blob's address names no host, or a user") from None
        host = found.hostname or ""
        if self._hosts is not None and host not in self._hosts:
            raise BackendError(f"a blob's address is at {host[:100]}, which is not among the allowed")
        if self._hosts is None and is_inside(host) and not is_inside(self.host):
            raise BackendError(f"a blob's address is at {host[:100]}, inside of our own network")
        return found._replace(fragment="")

    @contextmanager
    def judging(self) -> Iterator[None]:
        """What the service says that is malformed, as its failure."""
        try:
            yield
        except (InvalidBlock, InvalidCID) as error:
            raise BackendError(f"{self.host} answers with something malformed: {error}") from None


async def _read(raw: bytes) -> Message:
    if len(raw) < UCAN_INLINE_BYTES:
        return Message.decode(raw)
    return await threads.run(Pool.WORK, Message.decode, raw)


def _query(raw: bytes) -> tuple[list[Delegation], Mapping[CID, bytes]]:
    """The claims of an ``index/query/result@0.1``."""
    root, blocks = decode_car(raw)
    value = dag_cbor.decode(blocks.get(root, b"\xf6"))
    body = value.get("index/query/result@0.1") if isinstance(value, dict) else None
    links = body.get("claims", []) if isinstance(body, dict) else None
    if not isinstance(links, list):
        raise InvalidBlock("no result of a query for claims")
    found = [link for link in links if isinstance(link, CID) and link in blocks]
    return [Delegation.view(link, blocks) for link in found], blocks


def _attests(other: Delegation, proof: Delegation) -> bool:
    return any(item.can == "ucan/attest" and item.nb.get("proof") == proof.cid for item in other.ucan.capabilities)


def _only_space(proofs: Sequence[Delegation]) -> str:
    found = {item.on for proof in proofs for item in proof.ucan.capabilities if item.can != "ucan/attest"}
    if len(found) != 1 or (space := found.pop()) == "ucan:*":
        raise ConfigError("the delegations name no space, or several: say which is meant")
    return space
