"""What agents send each other: invocations to run, and signed receipts of what came of them, as one archive.

Source: storacha/ucanto packages/core message.js, receipt.js (``ucanto/message@7.0.0``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ipfs_kit_py.core.cid import CID, DAG_CBOR
from ipfs_kit_py.core.config import UCAN_BLOCK_BYTES, UCAN_MAX_PROOFS
from ipfs_kit_py.core.errors import InvalidBlock, InvalidCID
from ipfs_kit_py.dag import dag_cbor
from ipfs_kit_py.storage.remote.storacha.did import (
    Unauthorized,
    check_did,
    check_signature,
    did_of,
    signature_bytes,
    split_signature,
)
from ipfs_kit_py.storage.remote.storacha.ucan import Delegation, decode_car, encode_car

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ipfs_kit_py.crypto.keys import PrivateKey

VERSION = "ucanto/message@7.0.0"
_OUTCOME = frozenset({"ran", "out", "fx", "meta", "iss", "prf"})
_RECEIPT_BYTES = 16 * UCAN_BLOCK_BYTES  # a page of a list is in the receipt itself


@dataclass(frozen=True)
class Receipt:
    """What came of a task. Exactly one of ``ok`` and ``error`` is not ``None``. ``forks`` are tasks that it began.
    Nothing of it is proven until ``check``."""

    cid: CID
    data: bytes
    ran: CID
    ok: Any
    error: Any
    forks: tuple[CID, ...]
    issuer: str
    signed: bytes
    signature: tuple[int, bytes]

    @classmethod
    def decode(cls, data: bytes, cid: CID | None = None) -> Receipt:
        """A receipt of its block; raises ``InvalidBlock``."""
        if len(data) > _RECEIPT_BYTES:
            raise InvalidBlock(f"a receipt of {len(data)} bytes; the limit is {_RECEIPT_BYTES}")
        model = dag_cbor.decode(data)
        outcome = model.get("ocm") if isinstance(model, dict) and model.keys() == {"ocm", "sig"} else None
        if not isinstance(outcome, dict) or not {"ran", "out"} <= outcome.keys() <= _OUTCOME:
            raise InvalidBlock("no receipt")
        ran, out = outcome["ran"], outcome["out"]
        if not isinstance(ran, CID) or not isinstance(out, dict) or len(out) != 1 or not out.keys() <= {"ok", "error"}:
            raise InvalidBlock("a receipt that does not tell what it is of, or what came of it")
        if next(iter(out.values())) is None:
            raise InvalidBlock("a receipt of nothing")
        return cls(
            CID.of(data, DAG_CBOR) if cid is None else cid,
            data,
            ran,
            out.get("ok"),
            out.get("error"),
            _forks(outcome.get("fx", {})),
            check_did(outcome.get("iss")),
            dag_cbor.encode(outcome),
            split_signature(model["sig"]),
        )

    @classmethod
    def issue(
        cls, key: PrivateKey, ran: CID, ok: Any, *, issuer: str | None = None, forks: Sequence[CID] = ()
    ) -> Receipt:
        """Sign that a task came to ``ok``."""
        outcome = {
            "ran": ran,
            "out": {"ok": ok},
            "fx": {"fork": list(forks)},
            "meta": {},
            "iss": did_of(key.public_key) if issuer is None else issuer,
            "prf": [],
        }
        model = {"ocm": outcome, "sig": signature_bytes(key, dag_cbor.encode(outcome))}
        return cls.decode(dag_cbor.encode(model))

    def check(self, task: CID, issuer: str, keys: Mapping[str, str]) -> None:
        """``Unauthorized`` unless it is of ``task`` and signed by ``issuer``."""
        if self.ran != task:
            raise Unauthorized(f"asked for the receipt of {task}, got one of {self.ran}")
        if self.issuer != issuer:
            raise Unauthorized(f"the receipt of {task} is by {self.issuer}, not by {issuer}")
        check_signature(*self.signature, self.signed, issuer, keys)


def _forks(effects: Any) -> tuple[CID, ...]:
    forks = effects.get("fork", []) if isinstance(effects, dict) else None
    if not isinstance(forks, list) or len(forks) > UCAN_MAX_PROOFS or not all(isinstance(link, CID) for link in forks):
        raise InvalidBlock("a receipt's effects are no list of links, or too many")
    return tuple(forks)


@dataclass(frozen=True)
class Message:
    """One message: tasks to run, receipts by the task that they say they are of, and all blocks that came along."""

    execute: tuple[CID, ...] = ()
    report: Mapping[CID, CID] = field(default_factory=dict)
    blocks: Mapping[CID, bytes] = field(default_factory=dict)

    @classmethod
    def of(
        cls, invocations: Sequence[Delegation] = (), receipts: Sequence[tuple[Receipt, Mapping[CID, bytes]]] = ()
    ) -> Message:
        """A message with these; receipts with the blocks that go along."""
        blocks: dict[CID, bytes] = {}
        for invocation in invocations:
            blocks.update(invocation.export())
        for receipt, attached in receipts:
            blocks.update(attached)
            blocks[receipt.cid] = receipt.data
        report = {receipt.ran: receipt.cid for receipt, _attached in receipts}
        return cls(tuple(invocation.cid for invocation in invocations), report, blocks)

    def encode(self) -> bytes:
        """The archive."""
        body: dict[str, Any] = {}
        if self.execute:
            body["execute"] = list(self.execute)
        if self.report:
            body["report"] = {str(task): receipt for task, receipt in self.report.items()}
        data = dag_cbor.encode({VERSION: body})
        root = CID.of(data, DAG_CBOR)
        return encode_car(root, {**self.blocks, root: data})

    @classmethod
    def decode(cls, raw: bytes) -> Message:
        """A message of its archive, every block's hash checked. Raises ``InvalidBlock``."""
        root, blocks = decode_car(raw)
        value = dag_cbor.decode(blocks.get(root, b"\xf6"))
        body = value.get(VERSION) if isinstance(value, dict) and len(value) == 1 else None
        if not isinstance(body, dict) or not body.keys() <= {"execute", "report"}:
            raise InvalidBlock(f"the archive is no message of {VERSION}")
        execute, report = body.get("execute", []), body.get("report", {})
        if not isinstance(execute, list) or not all(isinstance(link, CID) for link in execute):
            raise InvalidBlock("a message's tasks are no links")
        if not isinstance(report, dict) or not all(isinstance(link, CID) for link in report.values()):
            raise InvalidBlock("a message's receipts are no links")
        try:
            return cls(tuple(execute), {CID.parse(task): link for task, link in report.items()}, blocks)
        except InvalidCID as error:
            raise InvalidBlock(f"a message reports on no task: {error}") from None

    def receipt(self, task: CID) -> Receipt | None:
        """The receipt of a task, also where it came along as a fact of another: unproven. ``None`` without one.
        ``InvalidBlock`` where what is reported for the task is no receipt."""
        if (link := self.report.get(task)) is not None:
            if link not in self.blocks:
                raise InvalidBlock(f"the receipt of {task} is missing in its message")
            return Receipt.decode(self.blocks[link], link)
        for invocation in self.tasks("ucan/conclude"):
            link = invocation.ucan.capabilities[0].nb.get("receipt")
            if isinstance(link, CID) and link in self.blocks:
                found = Receipt.decode(self.blocks[link], link)
                if found.ran == task:
                    return found
        return None

    def tasks(self, can: str, among: Sequence[CID] | None = None) -> list[Delegation]:
        """The invocations of an ability, of those named or of all UCANs in the message. What is none is left out."""
        found = []
        for link in self.blocks if among is None else among:
            if link.codec != DAG_CBOR or link not in self.blocks:
                continue
            try:
                item = Delegation.view(link, self.blocks)
            except InvalidBlock:
                continue
            if len(item.ucan.capabilities) == 1 and item.ucan.capabilities[0].can == can:
                found.append(item)
        return found
