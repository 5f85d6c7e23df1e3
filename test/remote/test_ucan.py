"""UCANs: bytes that the service's own JavaScript libraries made, each field tampered with, chains, round trips."""

from __future__ import annotations

import base64
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.core import config, varint
from ipfs_kit_py.core.cid import CID, DAG_CBOR
from ipfs_kit_py.core.errors import InvalidBlock
from ipfs_kit_py.crypto.keys import ED25519, PrivateKey
from ipfs_kit_py.dag import dag_cbor
from ipfs_kit_py.storage.remote.storacha import ucan
from ipfs_kit_py.storage.remote.storacha.did import Unauthorized, check_did, did_bytes, did_of, did_text
from ipfs_kit_py.storage.remote.storacha.shard_index import Place, decode_index, encode_index, encode_shard
from ipfs_kit_py.storage.remote.storacha.ucan import Capability, Delegation, Ucan, issue
from ipfs_kit_py.storage.remote.storacha.ucan_chain import Trust, authorise
from ipfs_kit_py.storage.remote.storacha.ucan_message import Message, Receipt

# made by vectors/ucan.mjs, which says how
VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "ucan.json").read_text())
NOW = 1_800_000_000.0
SERVICE = VECTORS["dids"]["service"][0]
KEYS = {SERVICE: VECTORS["dids"]["key"][0]}
TRUST = Trust(KEYS, SERVICE)
b64 = base64.b64decode


def key(number: int) -> PrivateKey:
    return PrivateKey(ED25519, Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


SPACE, AGENT, OTHER, SERVICE_KEY = (key(number) for number in (1, 2, 3, 4))


def did(of: PrivateKey) -> str:
    return did_of(of.public_key)


def grant(
    issuer: PrivateKey,
    audience: PrivateKey,
    can: str = "*",
    *,
    on: str | None = None,
    proofs: tuple[Delegation, ...] = (),
    **options: Any,
) -> Delegation:
    options = {"expires": None, **options}
    rights = [Capability(can, on or did(SPACE), options.pop("nb", {}))]
    signed = issue(issuer, did(audience), rights, proofs=[proof.cid for proof in proofs], **options)
    return Delegation.of(signed, proofs)


# --- what the JavaScript libraries made -------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["space", "agent", "other", "service", "key"])
def test_dids_have_the_bytes_of_the_javascript_library(name: str) -> None:
    text, raw = VECTORS["dids"][name]
    assert did_bytes(text) == b64(raw)
    assert did_text(b64(raw)) == text


def test_keys_have_the_dids_of_the_javascript_library() -> None:
    assert [did(item) for item in (SPACE, AGENT, OTHER, SERVICE_KEY)] == [
        VECTORS["dids"][name][0] for name in ("space", "agent", "other", "key")
    ]


def test_what_is_issued_here_is_what_is_issued_there() -> None:
    space = did(SPACE)
    right = issue(SPACE, did(AGENT), [Capability("space/blob/*", space), Capability("upload/*", space)], expires=None)
    assert (right.data, str(right.cid)) == (b64(VECTORS["right"]["block"]), VECTORS["right"]["cid"])
    further = issue(
        AGENT,
        did(OTHER),
        [Capability("space/blob/add", space, {"blob": {"size": 3, "digest": b"\1\2\3"}})],
        expires=4102444800,
        not_before=1700000000,
        nonce='a nonce with ünicode "quotes" \\ and \u0007',
        facts=[{"z": 1, "a": [True, None, "text"], "bytes": b"\0\xff", "link": right.cid}],
        proofs=[right.cid],
    )
    assert further.data == b64(VECTORS["further"]["block"])
    whole = Delegation.of(further, [Delegation(right)])
    assert ucan.archive(whole) == b64(VECTORS["further"]["archive"])
    assert ucan.proof_text(whole) == VECTORS["further"]["text"]


@pytest.mark.parametrize("name", ["right", "further", "invocation", "claim"])
def test_ucans_of_the_javascript_library_are_read_and_verified(name: str) -> None:
    found = Ucan.decode(b64(VECTORS[name]["block"]))
    assert str(found.cid) == VECTORS[name]["cid"]
    found.check({}, NOW)


@pytest.mark.parametrize("form", ["text", "archive"])
def test_delegations_are_read_from_the_text_that_command_lines_give(form: str) -> None:
    found = ucan.parse_proof(f" {VECTORS['further'][form]}\n")
    assert str(found.cid) == VECTORS["further"]["cid"]
    assert [str(proof.cid) for proof in found.proofs()] == [VECTORS["right"]["cid"]]
    authorise(found, Capability("space/blob/add", did(SPACE), {"blob": {"size": 3, "digest": b"\1\2\3"}}), TRUST, NOW)


def test_a_plain_car_gives_its_last_block() -> None:
    whole = ucan.extract(b64(VECTORS["further"]["archive"]))
    assert ucan.extract(ucan.encode_car(whole.cid, whole.export())).cid == whole.cid


@pytest.mark.parametrize("name", ["request", "response"])
def test_messages_have_the_bytes_of_the_javascript_library(name: str) -> None:
    assert Message.decode(b64(VECTORS[name])).encode() == b64(VECTORS[name])


def test_a_message_made_here_is_the_one_made_there() -> None:
    request = Message.decode(b64(VECTORS["request"]))
    [task] = request.execute
    assert Message.of([Delegation.view(task, request.blocks)]).encode() == b64(VECTORS["request"])
    response = Message.decode(b64(VECTORS["response"]))
    receipt = response.receipt(task)
    assert receipt is not None
    receipt.check(task, SERVICE, KEYS)
    [claim] = response.tasks("assert/location", receipt.forks)
    assert str(claim.cid) == VECTORS["claim"]["cid"]
    assert Receipt.issue(SERVICE_KEY, task, receipt.ok, issuer=SERVICE, forks=[claim.cid]).data == receipt.data


def test_an_index_has_the_bytes_of_the_javascript_library() -> None:
    wanted = VECTORS["index"]
    shards = [CID.parse(text).multihash for text in wanted["shards"]]
    slices = [CID.parse(text).multihash for text in wanted["slices"]]
    rows: list[list[tuple[bytes, int, int]]] = [[], []]
    for at, name in enumerate(slices):
        rows[at % 2].append((name, 100 + 1000 * at, 900 + at))
    parts = {shard: encode_shard(shard, row) for shard, row in zip(shards, rows, strict=True)}
    raw = encode_index(CID.parse(wanted["root"]), parts)
    assert raw == b64(wanted["archive"])
    found = decode_index(raw)
    assert str(found.content) == wanted["root"]
    assert set(found.shards) == set(shards)
    assert found.places == {name: Place(shards[at % 2], 100 + 1000 * at, 900 + at) for at, name in enumerate(slices)}


# --- tampering --------------------------------------------------------------------------------------------------------
def _other(value: Any) -> Any:
    """Another value of the same kind, the smallest change."""
    match value:
        case None:
            return 1_900_000_000
        case int():
            return value + 1
        case str():
            return value[:-1] + ("A" if value[-1:] != "A" else "B")
        case bytes():
            return value[:-1] + bytes([value[-1] ^ 1])
        case CID():
            return CID.of(value.raw, DAG_CBOR)
        case [first, *rest]:
            return [_other(first), *rest]
        case {"can": can}:
            return {**value, "can": can + "x" if can != "*" else "a/b"}
        case dict():
            return {**value, "new": 1}
    return [{}]


@pytest.mark.parametrize("field", ["iss", "aud", "att", "exp", "prf", "fct", "nnc", "nbf", "s", "v"])
def test_each_field_of_a_ucan_is_signed(field: str) -> None:
    model = dag_cbor.decode(b64(VECTORS["further"]["block"]))
    assert _other(model[field]) != model[field]
    raw = dag_cbor.encode({**model, field: _other(model[field])})
    with pytest.raises((Unauthorized, InvalidBlock)):
        Ucan.decode(raw).check(KEYS, NOW)


@pytest.mark.parametrize("field", ["nb", "with", "can"])
def test_each_part_of_a_capability_is_signed(field: str) -> None:
    model = dag_cbor.decode(b64(VECTORS["further"]["block"]))
    [right] = model["att"]
    changed = {"nb": {}, "with": did(OTHER), "can": "*"}[field]
    raw = dag_cbor.encode({**model, "att": [{**right, field: changed}]})
    with pytest.raises(Unauthorized, match="said to be signed"):
        Ucan.decode(raw).check(KEYS, NOW)


@pytest.mark.parametrize("name", ["v", "iss", "aud", "att", "exp", "prf", "s"])
def test_a_field_that_is_missing_is_told(name: str) -> None:
    model = dag_cbor.decode(b64(VECTORS["right"]["block"]))
    del model[name]
    with pytest.raises(InvalidBlock):
        Ucan.decode(dag_cbor.encode(model))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", 1),
        ("v", "0.10.0"),
        ("exp", "never"),
        ("exp", True),
        ("exp", -1),
        ("exp", 1 << 60),
        ("att", {}),
        ("att", [{"can": "a/b"}]),
        ("att", [{"can": "Upper/Case", "with": "did:key:z"}]),
        ("att", [{"can": "a/b", "with": "nothing"}]),
        ("att", [{"can": "a/b", "with": "did:x", "nb": []}]),
        ("att", [{"can": "a/b", "with": "did:x", "more": 1}]),
        ("att", [{"can": "a/b", "with": "did:x:y"}] * (config.UCAN_MAX_CAPABILITIES + 1)),
        ("prf", ["text"]),
        ("fct", [1]),
        ("fct", [{}] * (config.UCAN_MAX_PROOFS + 1)),
        ("nnc", 1),
        ("iss", b"\xed\x01short"),
        ("iss", varint.encode(0x0D1D) + b"key:z6Mk"),
        ("iss", varint.encode(0x0D1D) + b"web:\xff"),
        ("iss", varint.encode(0x0D1D) + b"web:" + b"a" * 300),
        ("s", b""),
        ("s", varint.encode(0xD0ED) + varint.encode(64) + bytes(63)),
        ("s", varint.encode(0xD0ED) + varint.encode(64) + bytes(65)),
    ],
)
def test_what_is_no_ucan_is_refused(name: str, value: Any) -> None:
    model = dag_cbor.decode(b64(VECTORS["right"]["block"]))
    with pytest.raises(InvalidBlock):
        Ucan.decode(dag_cbor.encode({**model, name: value}))


def test_a_ucan_has_a_size() -> None:
    with pytest.raises(InvalidBlock, match="limit"):
        Ucan.decode(bytes(config.UCAN_BLOCK_BYTES + 1))
    with pytest.raises(InvalidBlock, match="limit"):
        issue(SPACE, did(AGENT), [Capability("a/b", "did:x:y", {"a": bytes(config.UCAN_BLOCK_BYTES)})], expires=None)


def test_another_algorithm_is_not_verified() -> None:
    model = dag_cbor.decode(b64(VECTORS["right"]["block"]))
    raw = dag_cbor.encode({**model, "s": varint.encode(0xD01205) + varint.encode(64) + bytes(64)})
    with pytest.raises(Unauthorized, match="RS256"):
        Ucan.decode(raw).check({}, NOW)


@pytest.mark.parametrize(
    "text", ["", "did:", "did:key:", "did:key:z1", "did:KEY:z", "did:web:a b", "x" * 300, "did:web:" + "a" * 300]
)
def test_what_is_no_did_is_refused(text: str) -> None:
    with pytest.raises(InvalidBlock):
        check_did(text)


def test_a_key_of_small_order_verifies_nothing() -> None:
    weak = did_text(b"\xed\x01" + b"\x01" + bytes(31))
    signed = issue(SPACE, did(AGENT), [Capability("*", "did:x:y")], expires=None, issuer="did:web:x.example")
    with pytest.raises(Unauthorized, match="small order"):
        signed.check({"did:web:x.example": weak}, NOW)


# --- time and chains --------------------------------------------------------------------------------------------------
ADD = Capability("space/blob/add", did(SPACE), {"blob": {"size": 1}})


def test_the_owner_needs_no_proof() -> None:
    authorise(grant(SPACE, AGENT, "space/blob/add"), ADD, TRUST, NOW)


def test_a_chain_leads_to_the_owner() -> None:
    first = grant(SPACE, AGENT, "space/*")
    second = grant(AGENT, OTHER, "space/blob/*", proofs=(first,))
    authorise(second, ADD, TRUST, NOW)
    authorise(ucan.extract(ucan.archive(second)), ADD, TRUST, NOW)


@pytest.mark.parametrize("wide", ["*", "space/*", "space/blob/*", "space/blob/add"])
def test_abilities_cover_what_is_below_them(wide: str) -> None:
    assert Capability(wide, did(SPACE)).covers(ADD)


@pytest.mark.parametrize("narrow", ["space/blob", "space/blob/ad", "space/blobs/*", "upload/*", "space/blob/add/*"])
def test_abilities_cover_nothing_beside_them(narrow: str) -> None:
    assert not Capability(narrow, did(SPACE)).covers(ADD)


@pytest.mark.parametrize(
    ("flaw", "why"),
    [
        ("expired", "expired"),
        ("early", "not valid yet"),
        ("audience", "is for"),
        ("narrow", "does not give it"),
        ("space", "does not give it"),
        ("caveat", "does not give it"),
        ("signature", "said to be signed"),
        ("missing", "no proof leads to the owner"),
        ("no owner", "no proof leads to the owner"),
    ],
)
def test_a_chain_breaks(flaw: str, why: str) -> None:
    options: dict[str, dict[str, Any]] = {
        "expired": {"expires": int(NOW)},
        "early": {"not_before": int(NOW) + 1},
        "narrow": {"can": "upload/*"},
        "space": {"on": did(OTHER)},
        "caveat": {"nb": {"blob": {"size": 2}}},
    }
    owner = OTHER if flaw == "no owner" else SPACE
    first = grant(owner, OTHER if flaw == "audience" else AGENT, **options.get(flaw, {}))
    if flaw == "signature":
        model = dag_cbor.decode(first.ucan.data)
        first = Delegation(Ucan.decode(dag_cbor.encode({**model, "s": model["s"][:-1] + b"\0"})))
    second = grant(AGENT, OTHER, "space/blob/*", proofs=(first,))
    if flaw == "missing":
        second = Delegation(second.ucan)
    with pytest.raises(Unauthorized, match=why):
        authorise(second, ADD, TRUST, NOW)


def test_what_a_delegation_does_not_say_it_does_not_give() -> None:
    with pytest.raises(Unauthorized, match="does not give upload/add"):
        authorise(grant(SPACE, AGENT, "space/*"), Capability("upload/add", did(SPACE)), TRUST, NOW)


def test_a_true_value_is_no_number() -> None:
    assert not Capability("a/b", "did:x:y", {"n": 1}).covers(Capability("a/b", "did:x:y", {"n": True}))


def test_a_chain_that_goes_on_is_left() -> None:
    chain = grant(OTHER, AGENT)  # of somebody who has no right
    people = [key(number) for number in range(10, 13 + config.UCAN_MAX_CHAIN)]
    holder = AGENT
    for person in people:
        chain = grant(holder, person, proofs=(chain,))
        holder = person
    with pytest.raises(Unauthorized, match="more than"):
        authorise(chain, ADD, TRUST, NOW)


def test_an_account_without_a_key_needs_the_word_of_the_service() -> None:
    account = ucan.extract(b64(VECTORS["byMail"]["archive"]))
    attestation = ucan.extract(b64(VECTORS["byMail"]["attestation"]))
    authorise(account, ADD, TRUST, NOW, [attestation])
    with pytest.raises(Unauthorized, match="nobody trusted attests"):
        authorise(account, ADD, TRUST, NOW)
    with pytest.raises(Unauthorized, match="nobody trusted attests"):
        authorise(account, ADD, Trust({SERVICE: did(OTHER)}, SERVICE), NOW, [attestation])
    with pytest.raises(Unauthorized, match="nobody trusted attests"):
        authorise(account, ADD, Trust(KEYS, None), NOW, [attestation])
    forged = grant(OTHER, AGENT, "ucan/attest", on=SERVICE, nb={"proof": account.cid})
    with pytest.raises(Unauthorized, match="nobody trusted attests"):
        authorise(account, ADD, TRUST, NOW, [forged])


# --- archives, messages, receipts -------------------------------------------------------------------------------------
def test_archives_are_bounded_and_checked() -> None:
    raw = bytearray(ucan.archive(grant(SPACE, AGENT)))
    with pytest.raises(InvalidBlock, match="limit"):
        ucan.extract(bytes(config.UCAN_MESSAGE_BYTES + 1))
    with pytest.raises(InvalidBlock):
        ucan.extract(bytes(raw[:-1]))
    raw[-60] ^= 1
    with pytest.raises(InvalidBlock, match="hash"):
        ucan.extract(bytes(raw))
    data = [bytes([at % 256, at // 256]) for at in range(config.UCAN_MESSAGE_BLOCKS + 1)]
    many = {CID.of(item): item for item in data}
    with pytest.raises(InvalidBlock, match="blocks"):
        ucan.decode_car(ucan.encode_car(next(iter(many)), many))
    with pytest.raises(InvalidBlock):
        ucan.parse_proof("no such text")
    with pytest.raises(InvalidBlock, match="too long"):
        ucan.parse_proof("m" * (3 * config.UCAN_MESSAGE_BYTES))


TASK = CID.of(b"a task", DAG_CBOR)


@pytest.mark.parametrize("field", ["ran", "out", "fx", "meta", "iss", "prf"])
def test_each_field_of_a_receipt_is_signed(field: str) -> None:
    receipt = Receipt.issue(SERVICE_KEY, TASK, {"a": 1}, issuer=SERVICE)
    receipt.check(TASK, SERVICE, KEYS)
    model = dag_cbor.decode(receipt.data)
    changed = {
        "ran": CID.of(b"another", DAG_CBOR), "out": {"ok": {"a": 2}}, "fx": {"fork": [TASK]}, "meta": {"a": 1},
        "iss": did(OTHER), "prf": [TASK],
    }  # fmt: skip
    forged = Receipt.decode(dag_cbor.encode({**model, "ocm": {**model["ocm"], field: changed[field]}}))
    with pytest.raises(Unauthorized):
        forged.check(TASK, SERVICE, KEYS)


def test_a_receipt_is_of_one_task_and_one_issuer() -> None:
    receipt = Receipt.issue(OTHER, TASK, {})
    with pytest.raises(Unauthorized, match="asked for the receipt of"):
        receipt.check(CID.of(b"x"), did(OTHER), KEYS)
    with pytest.raises(Unauthorized, match="not by"):
        receipt.check(TASK, SERVICE, KEYS)
    with pytest.raises(Unauthorized, match="said to be signed"):
        replace(receipt, issuer=SERVICE).check(TASK, SERVICE, KEYS)


@pytest.mark.parametrize(
    "outcome",
    [
        None,
        {},
        {"ran": TASK},
        {"ran": TASK, "out": {}},
        {"ran": TASK, "out": {"ok": {}, "error": {}}},
        {"ran": TASK, "out": {"ok": None}},
        {"ran": "x", "out": {"ok": {}}},
        {"ran": TASK, "out": {"ok": {}}},
        {"ran": TASK, "out": {"ok": {}}, "iss": 1},
        {"ran": TASK, "out": {"ok": {}}, "iss": SERVICE, "fx": []},
        {"ran": TASK, "out": {"ok": {}}, "iss": SERVICE, "fx": {"fork": [1]}},
        {"ran": TASK, "out": {"ok": {}}, "iss": SERVICE, "fx": {"fork": [TASK] * 100}},
        {"ran": TASK, "out": {"ok": {}}, "iss": SERVICE, "more": 1},
    ],
)
def test_what_is_no_receipt_is_refused(outcome: Any) -> None:
    with pytest.raises(InvalidBlock):
        Receipt.decode(dag_cbor.encode({"ocm": outcome, "sig": varint.encode(0xD0ED) + varint.encode(0)}))


@pytest.mark.parametrize(
    "body",
    [
        None,
        {"ucanto/message@6.0.0": {}},
        {"ucanto/message@7.0.0": []},
        {"ucanto/message@7.0.0": {"execute": ["x"]}},
        {"ucanto/message@7.0.0": {"execute": TASK}},
        {"ucanto/message@7.0.0": {"report": {"x": TASK}}},
        {"ucanto/message@7.0.0": {"report": {str(TASK): "x"}}},
        {"ucanto/message@7.0.0": {"more": 1}},
    ],
)
def test_what_is_no_message_is_refused(body: Any) -> None:
    data = dag_cbor.encode(body)
    root = CID.of(data, DAG_CBOR)
    with pytest.raises(InvalidBlock):
        Message.decode(ucan.encode_car(root, {root: data}))


def test_a_receipt_that_is_reported_and_missing_is_told() -> None:
    with pytest.raises(InvalidBlock, match="missing"):
        Message((), {TASK: CID.of(b"x", DAG_CBOR)}, {}).receipt(TASK)
    assert Message().receipt(TASK) is None


def test_a_receipt_is_found_in_what_concludes_it() -> None:
    receipt = Receipt.issue(OTHER, TASK, {})
    right = Capability("ucan/conclude", did(AGENT), {"receipt": receipt.cid})
    told = Delegation.of(issue(AGENT, SERVICE, [right], expires=None), (), {receipt.cid: receipt.data})
    assert Message.decode(Message.of([told]).encode()).receipt(TASK) == receipt


# --- round trips ------------------------------------------------------------------------------------------------------
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/"), max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 53), 1 << 53)
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.binary(max_size=20)
    | st.binary(max_size=9).map(CID.of),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
MAPS = st.dictionaries(NAMES, VALUES, max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(MAPS, max_size=2), MAPS, st.none() | st.integers(0, 1 << 40), st.none() | st.text(max_size=9),
    st.integers(0, 1 << 40),
)  # fmt: skip
def test_ucans_come_back(
    facts: list[dict[str, Any]], nb: dict[str, Any], expires: int | None, nonce: str | None, since: int
) -> None:
    made = issue(
        SPACE, did(AGENT), [Capability("a/b", "did:x:y", nb)],
        expires=expires, facts=facts, nonce=nonce, not_before=since,
    )  # fmt: skip
    found = ucan.extract(ucan.archive(Delegation(made))).ucan
    assert found == made
    assert (found.expires, found.nonce, list(found.facts)) == (expires, nonce, facts)
    assert found.capabilities[0].nb == nb
    if expires is None or expires > since:
        found.check({}, now=since)
    else:
        with pytest.raises(Unauthorized):
            found.check({}, now=since)


@settings(max_examples=60, deadline=None)
@given(VALUES.filter(lambda value: value is not None), st.binary(max_size=8))
def test_receipts_come_back(ok: Any, name: bytes) -> None:
    task = CID.of(name, DAG_CBOR)
    made = Receipt.issue(OTHER, task, ok)
    message = Message.decode(Message.of((), [(made, {})]).encode())
    found = message.receipt(task)
    assert found == made
    assert found.ok == ok
    found.check(task, did(OTHER), {})


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.binary(max_size=6),
        st.lists(st.tuples(st.binary(max_size=6), st.integers(0, 1 << 50), st.integers(0, 1 << 40)), max_size=5),
        max_size=4,
    )
)
def test_indexes_come_back(parts: dict[bytes, list[tuple[bytes, int, int]]]) -> None:
    named = {
        CID.of(shard).multihash: [(CID.of(name).multihash, offset, size) for name, offset, size in rows]
        for shard, rows in parts.items()
    }
    root = CID.of(b"root")
    found = decode_index(encode_index(root, {shard: encode_shard(shard, rows) for shard, rows in named.items()}))
    assert found.content == root
    assert set(found.shards) == set(named)
    for name, place in found.places.items():
        assert (name, place.offset, place.length) in named[place.shard]
    assert set(found.places) == {name for rows in named.values() for name, _offset, _size in rows}


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 1 << 16))
def test_bytes_of_strangers_raise_nothing_else(noise: bytes, seed: int) -> None:
    """Random bytes, and archives with a few bytes changed."""
    rng = random.Random(seed)
    raw = bytearray(b64(VECTORS["response"]))
    for _ in range(3):
        raw[rng.randrange(len(raw))] = rng.randrange(256)
    for data in (noise, bytes(raw)):
        for read in (Message.decode, ucan.extract, Ucan.decode, Receipt.decode, decode_index, did_text):
            try:
                read(data)
            except InvalidBlock:
                continue
