"""The codecs on vectors that no one here wrote, by property, and on what must be refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import CID, DAG_CBOR, DAG_JSON, DAG_PB, RAW
from ipfs_kit_py.core.errors import InvalidBlock, IPFSKitError
from ipfs_kit_py.dag import codecs, dag_cbor, dag_json, dag_pb
from ipfs_kit_py.dag.car import read_car
from test.vectors import VECTORS, needs_vectors

cids = st.builds(
    lambda data, codec: CID.of(data, codec), st.binary(max_size=8), st.sampled_from([RAW, DAG_PB, DAG_CBOR])
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary(max_size=40)
    | cids
)
keys = st.text().filter(lambda text: text != "/")
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5), max_leaves=20
)


@needs_vectors
def test_every_fixture_comes_back_to_the_same_bytes_and_cid():
    seen = {DAG_CBOR: 0, DAG_JSON: 0, DAG_PB: 0}
    for cid, data in read_car((VECTORS / "codecs/fixtures.car").read_bytes()).blocks:
        if cid.codec not in seen:
            continue
        seen[cid.codec] += 1
        again = codecs.encode(codecs.decode(cid.codec, data), cid.codec)
        assert again == data, cid
        assert CID.of(again, cid.codec) == cid
    assert seen[DAG_CBOR] > 100
    assert seen[DAG_JSON] > 100
    assert seen[DAG_PB] > 10


def _negative(pattern):
    for path in sorted(VECTORS.glob(pattern)):
        for case in json.loads(path.read_text()):
            yield pytest.param(path, case, id=f"{path.parent.parent.name}-{path.stem}-{case['name']}")


@needs_vectors
@pytest.mark.parametrize(("path", "case"), list(_negative("codecs-negative/*/decode/*.json")))
def test_what_must_not_decode_is_refused(path, case):
    codec = {"dag-cbor": DAG_CBOR, "dag-json": DAG_JSON, "dag-pb": DAG_PB}[path.parent.parent.name]
    with pytest.raises(InvalidBlock):
        codecs.decode(codec, bytes.fromhex(case["hex"]))


@needs_vectors
@pytest.mark.parametrize(("path", "case"), list(_negative("codecs-negative/*/encode/*.json")))
def test_what_must_not_encode_is_refused(path, case):
    value = dag_json.decode(json.dumps(case["dag-json"]).encode())
    with pytest.raises(InvalidBlock):
        codecs.encode(value, DAG_PB)


def _same(one, two):
    return type(one) is type(two) and (
        (one.keys() == two.keys() and all(_same(one[key], two[key]) for key in one))
        if isinstance(one, dict)
        else (len(one) == len(two) and all(map(_same, one, two)))
        if isinstance(one, list)
        else one == two
    )


@given(values)
def test_dag_cbor_comes_back(value):
    raw = dag_cbor.encode(value)
    assert _same(dag_cbor.decode(raw), value)
    assert dag_cbor.encode(dag_cbor.decode(raw)) == raw


@given(values)
def test_dag_json_comes_back(value):
    raw = dag_json.encode(value)
    assert _same(dag_json.decode(raw), value)
    assert dag_json.encode(dag_json.decode(raw)) == raw


@given(st.binary(max_size=200), st.sampled_from([DAG_CBOR, DAG_JSON, DAG_PB]))
def test_random_bytes_are_a_value_or_a_typed_error(data, codec):
    try:
        codecs.decode(codec, data)
    except InvalidBlock:
        return


@given(values, st.data())
def test_damaged_dag_cbor_is_canonical_or_refused(value, data):
    raw = bytearray(dag_cbor.encode(value))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    try:
        found = dag_cbor.decode(raw)
    except InvalidBlock:
        return
    assert dag_cbor.encode(found) == raw


def test_a_byte_string_that_looks_like_a_cid_stays_one():
    raw = CID.of(b"x").raw
    assert dag_cbor.decode(dag_cbor.encode({"bytes": raw, "link": CID.from_bytes(raw)})) == {
        "bytes": raw,
        "link": CID.from_bytes(raw),
    }


@pytest.mark.parametrize(
    "raw",
    [
        b"\x18\x05",  # not minimal
        b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff",  # a length that allocates
        b"\xbb\x00\x00\x00\xff\xff\xff\xff\xff",
        b"\x5b\x00\x00\x00\xff\xff\xff\xff\xff",
        b"\x9f\xff",  # indefinite
        b"\xf9\x3c\x00",  # half float
        b"\xfb\x7f\xf8" + bytes(6),  # NaN
        b"\xf7",  # undefined
        b"\xc1\x00",  # other tag
        b"\xd8\x2a\x41\x00",  # link without a CID
        b"\xa1\x01\x01",  # key is no string
        b"\x01\x01",  # two values
        b"\x81" * 100_000,  # depth
        b"\x61\xff",  # no UTF-8
        b"",
    ],
)
def test_hostile_dag_cbor_is_refused_at_once(raw):
    with pytest.raises(InvalidBlock):
        dag_cbor.decode(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 100_000,
        b'{"/":1}',
        b'{"/":"x"}',
        b'{"/":{"bytes":1}}',
        b'{"/":"bafkqaaa","a":1}',
        b"NaN",
        b"1e999",
        b"\xff",
        b'{"a":1,"a":2}',
    ],
)
def test_hostile_dag_json_is_refused(raw):
    with pytest.raises(InvalidBlock):
        dag_json.decode(raw)


@given(
    st.lists(st.builds(dag_pb.PBLink, cids, st.none() | st.text(), st.none() | st.integers(0, 2**63 - 1)), max_size=8),
    st.none() | st.binary(),
)
def test_dag_pb_comes_back_sorted(links, data):
    node = dag_pb.PBNode(sorted(links, key=dag_pb.sort_key), data)
    raw = dag_pb.encode(dag_pb.PBNode(links, data))
    assert dag_pb.decode(raw) == node
    assert dag_pb.links(raw) == [link.cid for link in node.links]


def test_values_outside_of_the_model_are_refused():
    for value in (object(), {1: 2}, float("nan"), 2**64, {"a": {3}}, "\ud800"):
        for codec in (DAG_CBOR, DAG_JSON):
            if value == 2**64 and codec == DAG_JSON:
                continue
            with pytest.raises(IPFSKitError):
                codecs.encode(value, codec)
