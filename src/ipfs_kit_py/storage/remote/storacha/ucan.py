"""UCAN 0.9.1 as dag-cbor blocks: who may do what, said by whom, until when; and archives of such delegations.

A UCAN is stored as one dag-cbor block, but what is signed is its text form, as a JWT. Both are made from the decoded
fields, so a field that is not known here is refused: it would not be signed.
Source: ucan-wg/spec 0.9, ipld/js-dag-ucan (encoding), storacha/ucanto (archives, chains, attestations).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import libipld

from ipfs_kit_py.core import varint
from ipfs_kit_py.core.cid import CID, DAG_CBOR
from ipfs_kit_py.core.config import (
    UCAN_BLOCK_BYTES,
    UCAN_MAX_CAPABILITIES,
    UCAN_MAX_PROOFS,
    UCAN_MESSAGE_BLOCKS,
    UCAN_MESSAGE_BYTES,
)
from ipfs_kit_py.core.errors import InvalidBlock
from ipfs_kit_py.dag import car, dag_cbor, dag_json
from ipfs_kit_py.storage.remote.storacha.did import (
    ALGORITHMS,
    EDDSA,
    Unauthorized,
    check_did,
    check_signature,
    did_bytes,
    did_of,
    did_text,
    signature_bytes,
    split_signature,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ipfs_kit_py.crypto.keys import PrivateKey

VERSION = "0.9.1"
CAR_CODEC = 0x0202

_FIELDS = frozenset({"v", "iss", "aud", "att", "exp", "prf", "fct", "nnc", "nbf", "s"})
_NEEDED = frozenset({"v", "iss", "aud", "att", "exp", "prf", "s"})
_ABILITY = re.compile(r"\*|[a-z0-9_.*-]+(?:/[a-z0-9_.*-]+)+")


# --- one UCAN ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Capability:
    """A right: ``can`` (``space/blob/add``, ``upload/*``, ``*``) on the resource ``on``, within ``nb``, its caveats or
    arguments."""

    can: str
    on: str
    nb: dict[str, Any] = field(default_factory=dict)

    def covers(self, other: Capability) -> bool:
        """Whether ``other`` may be derived from this one. Caveats that this one has must be the same there."""
        can = self.can in ("*", other.can) or (self.can.endswith("/*") and other.can.startswith(self.can[:-1]))
        return (
            can
            and self.on in (other.on, "ucan:*")
            and all(key in other.nb and _same(value, other.nb[key]) for key, value in self.nb.items())
        )


def _same(one: Any, other: Any) -> bool:
    return one == other and dag_cbor.encode(one) == dag_cbor.encode(other)


@dataclass(frozen=True)
class Ucan:
    """One signed statement, decoded. ``issuer`` and ``audience`` are DIDs; ``expires`` and ``not_before`` seconds since
    1970, ``expires`` ``None`` for never. Nothing of it is proven until ``check`` or a chain was asked for."""

    cid: CID
    data: bytes
    issuer: str
    audience: str
    capabilities: tuple[Capability, ...]
    expires: int | None
    not_before: int | None
    proofs: tuple[CID, ...]
    facts: tuple[dict[str, Any], ...]
    nonce: str | None
    signed: bytes  # what the signature is over
    signature: tuple[int, bytes]

    @classmethod
    def decode(cls, data: bytes, cid: CID | None = None) -> Ucan:
        """A UCAN of its block; raises ``InvalidBlock``. ``cid`` must be the block's."""
        if len(data) > UCAN_BLOCK_BYTES:
            raise InvalidBlock(f"a UCAN of {len(data)} bytes; the limit is {UCAN_BLOCK_BYTES}")
        model = dag_cbor.decode(data)
        if not isinstance(model, dict) or not _NEEDED <= model.keys() <= _FIELDS or model["v"] != VERSION:
            raise InvalidBlock(f"no UCAN of version {VERSION}")
        code, signature = split_signature(model["s"])
        issuer, audience = did_text(model["iss"]), did_text(model["aud"])
        return cls(
            CID.of(data, DAG_CBOR) if cid is None else cid,
            data,
            issuer,
            audience,
            tuple(_capability(item) for item in _items(model["att"], UCAN_MAX_CAPABILITIES)),
            None if model["exp"] is None else _seconds(model["exp"]),
            _seconds(model["nbf"]) if "nbf" in model else None,
            _links(model["prf"]),
            _facts(model.get("fct", [])),
            _nonce(model.get("nnc")),
            _signed_text(model, code, issuer, audience),
            (code, signature),
        )

    def check_time(self, now: float | None) -> None:
        """``Unauthorized`` where it is not valid any more, or not yet; ``None`` is any time."""
        if now is None:
            return
        if self.expires is not None and self.expires <= now:
            raise Unauthorized(f"the delegation {self.cid} by {self.issuer} expired {now - self.expires:.0f} s ago")
        if self.not_before is not None and self.not_before > now:
            raise Unauthorized(f"the delegation {self.cid} by {self.issuer} is not valid yet")

    def check(self, keys: Mapping[str, str], now: float | None) -> None:
        """``Unauthorized`` unless it is signed by its issuer and valid now."""
        self.check_time(now)
        check_signature(*self.signature, self.signed, self.issuer, keys)


def issue(
    key: PrivateKey,
    audience: str,
    capabilities: Sequence[Capability],
    *,
    expires: int | None,
    issuer: str | None = None,
    proofs: Sequence[CID] = (),
    facts: Sequence[Mapping[str, Any]] = (),
    nonce: str | None = None,
    not_before: int | None = None,
) -> Ucan:
    """Sign a UCAN. ``issuer`` is the DID that the key signs for, by default its ``did:key``. ``InvalidBlock`` for what
    no UCAN can hold."""
    sender = did_of(key.public_key) if issuer is None else check_did(issuer)
    model: dict[str, Any] = {
        "v": VERSION,
        "iss": did_bytes(sender),
        "aud": did_bytes(check_did(audience)),
        "att": [_right(item) for item in capabilities],
        "exp": expires,
        "prf": list(proofs),
    }
    if facts:
        model["fct"] = [dict(item) for item in facts]
    if nonce is not None:
        model["nnc"] = nonce
    if not_before:
        model["nbf"] = not_before
    model["s"] = signature_bytes(key, _signed_text(model, EDDSA, sender, audience))
    return Ucan.decode(dag_cbor.encode(model))


def _right(item: Capability) -> dict[str, Any]:
    found: dict[str, Any] = {"can": item.can, "with": item.on}
    return {**found, "nb": item.nb} if item.nb else found


def _signed_text(model: Mapping[str, Any], code: int, issuer: str, audience: str) -> bytes:
    """The text form without its signature: header and payload of a JWT, their maps in the order of dag-json."""
    header = {"alg": ALGORITHMS.get(code, ""), "typ": "JWT", "ucv": VERSION}
    payload = {
        "iss": issuer,
        "aud": audience,
        "att": model["att"],
        "exp": model["exp"],
        "prf": [str(link) for link in model["prf"]],
    }
    payload.update({name: model[name] for name in ("fct", "nnc", "nbf") if model.get(name)})
    return b".".join(base64.urlsafe_b64encode(dag_json.encode(part)).rstrip(b"=") for part in (header, payload))


def _items(value: Any, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise InvalidBlock(f"a UCAN has no list, or one of more than {most} items")
    return value


def _links(value: Any) -> tuple[CID, ...]:
    links = _items(value, UCAN_MAX_PROOFS)
    if not all(isinstance(link, CID) for link in links):
        raise InvalidBlock("a UCAN's proofs are no links")
    return tuple(links)


def _facts(value: Any) -> tuple[dict[str, Any], ...]:
    facts = _items(value, UCAN_MAX_PROOFS)
    if not all(isinstance(fact, dict) for fact in facts):
        raise InvalidBlock("a UCAN's facts are no maps")
    return tuple(facts)


def _seconds(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise InvalidBlock("a UCAN's time is no number of seconds")
    return value


def _nonce(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidBlock("a UCAN's nonce is no text")
    return value


def _capability(item: Any) -> Capability:
    if not isinstance(item, dict) or not {"can", "with"} <= item.keys() <= {"can", "with", "nb"}:
        raise InvalidBlock("a UCAN's capability is not can, with and nb")
    can, on, nb = item["can"], item["with"], item.get("nb", {})
    if not isinstance(can, str) or not _ABILITY.fullmatch(can):
        raise InvalidBlock(f"{can!r:.80} is no ability")
    if not isinstance(on, str) or ":" not in on or not on.isprintable():
        raise InvalidBlock(f"{on!r:.80} is no resource")
    if not isinstance(nb, dict):
        raise InvalidBlock("a capability's caveats are no map")
    return Capability(can, on, nb)


# --- with its proofs --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Delegation:
    """A UCAN with the blocks that came with it: its proofs, and what its facts and arguments link to."""

    ucan: Ucan
    blocks: Mapping[CID, bytes] = field(default_factory=dict)

    @classmethod
    def of(
        cls, ucan: Ucan, proofs: Iterable[Delegation] = (), attached: Mapping[CID, bytes] | None = None
    ) -> Delegation:
        """A UCAN with its proofs, each with its own."""
        blocks: dict[CID, bytes] = dict(attached or {})
        for proof in proofs:
            blocks.update(proof.export())
        return cls(ucan, blocks)

    @classmethod
    def view(cls, root: CID, blocks: Mapping[CID, bytes]) -> Delegation:
        """The UCAN ``root`` among verified blocks; ``InvalidBlock`` where it is missing or none."""
        if (data := blocks.get(root)) is None:
            raise InvalidBlock(f"the UCAN {root} is missing")
        if root.codec != DAG_CBOR:
            raise InvalidBlock(f"the UCAN {root} is not in dag-cbor")
        return cls(Ucan.decode(data, root), blocks)

    @property
    def cid(self) -> CID:
        return self.ucan.cid

    def proofs(self) -> list[Delegation]:
        """Its proofs that are here and readable."""
        found = []
        for link in self.ucan.proofs:
            if link in self.blocks:
                try:
                    found.append(Delegation.view(link, self.blocks))
                except InvalidBlock:
                    continue  # what cannot be read proves nothing
        return found

    def export(self) -> dict[CID, bytes]:
        """The blocks that belong to it, proofs before what they prove, itself last."""
        found: dict[CID, bytes] = {}
        stack: list[tuple[Delegation, bool]] = [(self, False)]
        begun: set[CID] = set()
        while stack:
            item, entered = stack.pop()
            if entered:
                if item is self:
                    found.update(self._attached())
                found[item.cid] = item.ucan.data
            elif item.cid not in begun:
                begun.add(item.cid)
                stack.append((item, True))
                stack.extend((proof, False) for proof in reversed(item.proofs()))
        return found

    def _attached(self) -> dict[CID, bytes]:
        linked = dag_cbor.links_of([[item.nb for item in self.ucan.capabilities], list(self.ucan.facts)])
        return {link: self.blocks[link] for link in linked if link in self.blocks}


def encode_car(root: CID, blocks: Mapping[CID, bytes]) -> bytes:
    """A version 1 archive."""
    parts: list[bytes] = [car.header([root])]
    for cid, data in blocks.items():
        parts += [bytes(part) for part in car.section(cid, data)]
    return b"".join(parts)


def decode_car(raw: bytes) -> tuple[CID, dict[CID, bytes]]:
    """The one root and the verified blocks of an archive; raises ``InvalidBlock``, also where it is over its bounds."""
    if len(raw) > UCAN_MESSAGE_BYTES:
        raise InvalidBlock(f"an archive of {len(raw)} bytes; the limit is {UCAN_MESSAGE_BYTES}")
    header, found = car.read_car(raw)
    if len(header.roots) != 1 or len(found) > UCAN_MESSAGE_BLOCKS:
        raise InvalidBlock(f"an archive with {len(header.roots)} roots and {len(found)} blocks; wanted: one, few")
    return header.roots[0], {block.cid: bytes(block.data) for block in found}


def archive(delegation: Delegation) -> bytes:
    """A delegation with its proofs as the archive that others read (``storacha proof``, ``delegation.archive()``)."""
    blocks = delegation.export()
    data = dag_cbor.encode({f"ucan@{VERSION}": delegation.cid})
    root = CID.of(data, DAG_CBOR)
    return encode_car(root, {**blocks, root: data})


def extract(raw: bytes) -> Delegation:
    """The delegation of an archive, or of a plain CAR whose last block it is. Raises ``InvalidBlock``."""
    if len(raw) > UCAN_MESSAGE_BYTES:
        raise InvalidBlock(f"an archive of {len(raw)} bytes; the limit is {UCAN_MESSAGE_BYTES}")
    header, found = car.read_car(raw)
    if not found or len(found) > UCAN_MESSAGE_BLOCKS:
        raise InvalidBlock(f"an archive of {len(found)} blocks is no delegation's")
    blocks = {block.cid: bytes(block.data) for block in found}
    if header.roots and (data := blocks.get(header.roots[0])) is not None:
        value = dag_cbor.decode(data) if header.roots[0].codec == DAG_CBOR else None
        if isinstance(value, dict) and isinstance(link := value.get(f"ucan@{VERSION}"), CID) and len(value) == 1:
            return Delegation.view(link, blocks)
    return Delegation.view(found[-1].cid, blocks)


def parse_proof(text: str) -> Delegation:
    """A delegation in the text form that command lines exchange: a CID that carries the archive, or base64 of it."""
    text = text.strip()
    if len(text) > 2 * UCAN_MESSAGE_BYTES:
        raise InvalidBlock("a delegation's text is too long")
    try:
        return extract(_inline(text) or base64.b64decode(text, validate=True))
    except ValueError as error:
        if isinstance(error, InvalidBlock):
            raise
        raise InvalidBlock("a delegation's text is neither a CID with an archive nor base64 of one") from None


def _inline(text: str) -> bytes | None:
    """What a CID of an archive carries in itself."""
    try:
        raw = bytes(libipld.decode_multibase(text)[1])
        head = [0, 0, 0, 0]
        at = 0
        for index in range(4):
            head[index], at = varint.decode(raw, at)
    except (ValueError, IndexError):
        return None
    return raw[at:] if head == [1, CAR_CODEC, 0, len(raw) - at] else None


def proof_text(delegation: Delegation) -> str:
    """The text form that ``parse_proof`` and the service's own command line read."""
    raw = archive(delegation)
    head = varint.encode(1) + varint.encode(CAR_CODEC) + varint.encode(0) + varint.encode(len(raw))
    return str(libipld.encode_multibase("m", head + raw))
