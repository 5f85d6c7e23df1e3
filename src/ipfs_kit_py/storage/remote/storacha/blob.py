"""What a Storacha service says about a blob, judged: where to bring it, that it was accepted, where it is.

``space/blob/add`` is answered with tasks that follow (allocate, put, accept), those done already with their receipts.
Each is checked: that it is about this blob in this space, who signed it, and by what right. Source: storacha/specs
w3-blob.md; storacha/upload-service packages/upload-client blob/add.js.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ipfs_kit_py.core import varint
from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import STORACHA_HEADERS, STORACHA_URLS
from ipfs_kit_py.core.errors import BackendError, HashMismatch
from ipfs_kit_py.crypto.keys import ED25519, PrivateKey
from ipfs_kit_py.storage.remote.storacha.did import Unauthorized, did_bytes, did_of, did_text
from ipfs_kit_py.storage.remote.storacha.ucan import Delegation
from ipfs_kit_py.storage.remote.storacha.ucan_chain import Trust, authorise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipfs_kit_py.storage.remote.storacha.ucan_message import Message, Receipt

_ED25519_SECRET = varint.encode(0x1300)
_ED25519_PUBLIC = varint.encode(0xED)
_URL_CHARS = 4096
_HEADER_CHARS = 1024
_OURS = frozenset({"host", "connection", "content-length", "transfer-encoding", "expect", "te", "trailer", "upgrade"})


@dataclass(frozen=True)
class Site:
    """Where a blob can be fetched: addresses, the blob's offset there in bytes, its length where that was told, when
    the claim expires (seconds since 1970, ``None`` for never), and the DID of who claims it."""

    urls: tuple[str, ...]
    offset: int = 0
    length: int | None = None
    expires: int | None = None
    node: str = ""


@dataclass(frozen=True)
class Added:
    """What ``space/blob/add`` came to. ``url`` is ``None`` where the blob is there already. ``put`` is the task whose
    receipt ``key`` signs, ``delivered`` where that is done. ``accept`` is the task that says at last where it is,
    ``accepted`` its receipt where it is there already, with the message that it came in."""

    node: str
    url: str | None
    headers: Mapping[str, str]
    put: CID
    key: PrivateKey
    delivered: bool
    accept: CID
    accepted: tuple[Receipt, Message] | None


@dataclass(frozen=True)
class Judge:
    """Knows the service, the space and whom to trust."""

    service: str
    space: str
    trust: Trust = field(default_factory=Trust)

    def added(self, message: Message, receipt: Receipt, digest: bytes, size: int | None, now: float | None) -> Added:
        """What the checked receipt of ``space/blob/add`` says. ``Unauthorized`` or ``BackendError`` for a lie. ``size``
        is ``None`` where it is not known, ``now`` for a receipt of long ago, whose tasks may have expired since."""
        allocate = self._fork(message, receipt, "blob/allocate")
        put = self._fork(message, receipt, "http/put")
        accept = self._fork(message, receipt, "blob/accept")
        node = allocate.ucan.audience
        for task in (allocate, accept):
            self._about(task, digest, size)
            if task.ucan.issuer != self.service or task.ucan.audience != node:
                raise Unauthorized(f"{self.service} gives a task that is not from it to the one storage node {node}")
            authorise(task, task.ucan.capabilities[0], self.trust, now)
        key = _put_key(put)
        put.ucan.check(self.trust.keys, now)
        _same_blob(put.ucan.capabilities[0].nb.get("body"), digest, size, "http/put")
        url, headers = self._address(message, allocate, node)
        delivered = message.receipt(put.cid)
        if delivered is not None:
            delivered.check(put.cid, put.ucan.issuer, self.trust.keys)
            _succeeded(delivered, "http/put")
        if url is None and delivered is None:
            raise BackendError(f"{self.service} tells no address for a blob, nor that it is there")
        accepted = message.receipt(accept.cid)
        return Added(
            node, url, headers, put.cid, key, delivered is not None, accept.cid,
            None if accepted is None else (accepted, message),
        )  # fmt: skip

    def _fork(self, message: Message, receipt: Receipt, can: str) -> Delegation:
        found = message.tasks(can, receipt.forks)
        if len(found) != 1:
            raise BackendError(f"{self.service} answers with {len(found)} tasks {can}; wanted one")
        return found[0]

    def _about(self, task: Delegation, digest: bytes, size: int | None) -> None:
        nb, can = task.ucan.capabilities[0].nb, task.ucan.capabilities[0].can
        _same_blob(nb.get("blob"), digest, size, can)
        if nb.get("space") != did_bytes(self.space):
            raise BackendError(f"{self.service} answers with a {can} for another space")

    def _address(self, message: Message, allocate: Delegation, node: str) -> tuple[str | None, dict[str, str]]:
        receipt = message.receipt(allocate.cid)
        if receipt is None:
            raise BackendError(f"{self.service} allocated nothing yet")
        receipt.check(allocate.cid, node, self.trust.keys)
        address = _succeeded(receipt, "blob/allocate").get("address")
        if address is None:
            return None, {}
        match address:
            case {"url": str() as url, "headers": dict() as headers} if len(url) <= _URL_CHARS:
                return url, _headers(headers)
        raise BackendError(f"{node} allocated something that is no address")

    def site(self, receipt: Receipt, message: Message, task: CID, node: str, digest: bytes, now: float) -> Site:
        """Where the blob is, of the receipt of ``blob/accept``."""
        if receipt.issuer == self.service and receipt.error is not None:
            receipt.check(task, self.service, self.trust.keys)  # the service itself tells of a failed upload
        else:
            receipt.check(task, node, self.trust.keys)
        link = _succeeded(receipt, "blob/accept").get("site")
        if not isinstance(link, CID):
            raise BackendError(f"{node} accepted a blob and does not tell where it is")
        return self.location(Delegation.view(link, message.blocks), digest, now)

    def location(self, claim: Delegation, digest: bytes, now: float, *, ours: bool = True) -> Site:
        """What a location claim says, checked: by whom, until when, of which blob; ``ours``: in our space."""
        if len(claim.ucan.capabilities) != 1 or (said := claim.ucan.capabilities[0]).can != "assert/location":
            raise BackendError(f"{claim.cid} is no location claim")
        authorise(claim, said, self.trust, now)
        found = said.nb.get("content")
        name = found.get("digest") if isinstance(found, dict) else found.multihash if isinstance(found, CID) else None
        if name != digest:
            raise HashMismatch(f"{claim.ucan.issuer} claims where another blob is", peer=claim.ucan.issuer)
        if ours and "space" in said.nb and did_text(said.nb["space"]) != self.space:
            raise BackendError(f"{claim.ucan.issuer} claims where a blob of another space is")
        urls = said.nb.get("location")
        if not isinstance(urls, list) or not urls or not all(isinstance(url, str) for url in urls):
            raise BackendError(f"{claim.ucan.issuer} claims no addresses")
        urls = [url for url in urls[:STORACHA_URLS] if len(url) <= _URL_CHARS]
        match said.nb.get("range", {"offset": 0}):
            case {"offset": int() as offset, **rest} if 0 <= offset < 1 << 53:
                length = rest.get("length")
                if length is None or (isinstance(length, int) and 0 <= length < 1 << 53):
                    return Site(tuple(urls), offset, length, claim.ucan.expires, claim.ucan.issuer)
        raise BackendError(f"{claim.ucan.issuer} claims a range that is none")


def failure(receipt: Receipt) -> tuple[str, str]:
    """Name and message of a receipt's error."""
    error = receipt.error if isinstance(receipt.error, dict) else {}
    name, message = error.get("name"), error.get("message")
    return (name if isinstance(name, str) else "error"), (message if isinstance(message, str) else "")


def _succeeded(receipt: Receipt, can: str) -> dict[str, Any]:
    if receipt.error is not None:
        name, message = failure(receipt)
        raise BackendError(f"{receipt.issuer} failed in {can}: {name[:80]!r} {message[:200]!r}")
    if not isinstance(receipt.ok, dict):
        raise BackendError(f"{receipt.issuer} answers {can} with {type(receipt.ok).__name__}")
    return receipt.ok


def _same_blob(blob: Any, digest: bytes, size: int | None, can: str) -> None:
    if not isinstance(blob, dict) or blob.get("digest") != digest or (size is not None and blob.get("size") != size):
        raise BackendError(f"the service answers with a {can} of another blob")


def _headers(headers: dict[str, Any]) -> dict[str, str]:
    """What a storage node wants with an upload, without what is ours to say."""
    if len(headers) > STORACHA_HEADERS:
        raise BackendError(f"a storage node wants more than {STORACHA_HEADERS} headers")
    for name, value in headers.items():
        fine = isinstance(value, str) and len(value) <= _HEADER_CHARS and value.isascii() and value.isprintable()
        if not fine or len(name) > _HEADER_CHARS or not name.replace("-", "").replace("_", "").isalnum():
            raise BackendError("a storage node wants a header that cannot be sent")
    return {name: value for name, value in headers.items() if name.lower() not in _OURS}


def _put_key(put: Delegation) -> PrivateKey:
    """The key that comes with ``http/put`` for its receipt; it must be the one whose DID the task is for."""
    did = put.ucan.issuer
    for fact in put.ucan.facts:
        keys = fact.get("keys")
        found = keys.get("keys") if isinstance(keys, dict) else None
        raw = found.get(did) if isinstance(found, dict) else None
        if isinstance(raw, bytes) and len(raw) == 68 and raw[:2] == _ED25519_SECRET and raw[34:36] == _ED25519_PUBLIC:
            key = PrivateKey(ED25519, Ed25519PrivateKey.from_private_bytes(raw[2:34]))
            if did_of(key.public_key) == did:
                return key
    raise BackendError("the service gives no key to tell with that a blob was delivered")
