"""What hostile blocks can do to those who read them: dag-pb, UnixFS, dag-cbor, dag-json, paths."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import CBOR, CID, DAG_CBOR, DAG_JSON, DAG_PB, JSON, RAW
from ipfs_kit_py.core.config import MAX_CODEC_DEPTH, MAX_FILE_BYTES, MAX_LINKS_PER_BLOCK, MAX_PATH_SEGMENTS, MIB
from ipfs_kit_py.core.errors import InvalidBlock, InvalidCID, IPFSKitError, NotAFile, NotFound, NotSupported
from ipfs_kit_py.core.multihash import IDENTITY, wrap
from ipfs_kit_py.dag import codecs, dag_cbor, dag_json, dag_pb, paths, unixfs
from ipfs_kit_py.dag.hamt import build_hamt
from ipfs_kit_py.dag.plan import OVERDRAFT
from ipfs_kit_py.dag.profiles import V1_2025, Stat
from ipfs_kit_py.dag.protobuf import number, read_number, read_span
from ipfs_kit_py.dag.reader import FileReader
from ipfs_kit_py.dag.walk import DagWalk
from test.engine.plans import Part, Store, join, leaf, value

X = CID.of(b"x")
NOTHING = CID(1, RAW, wrap(IDENTITY, b""))


def field(tag: int, body: bytes) -> bytes:
    """A length-delimited field."""
    return bytes((tag,)) + number(len(body)) + body


HASH, NAME, TSIZE, DATA = field(0x0A, X.raw), field(0x12, b"name"), b"\x18\x07", field(0x0A, b"data")
LINK = field(0x12, HASH + NAME + TSIZE)


# --- numbers ----------------------------------------------------------------------------------------------------------


@given(st.integers(0, (1 << 64) - 1), st.binary(max_size=3))
def test_numbers_of_64_bits_come_back(value: int, rest: bytes) -> None:
    assert read_number(number(value) + rest, 0) == (value, len(number(value)))


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x80", b"\xff" * 9, b"\xff" * 10 + b"\x00", b"\xff" * 9 + b"\x02", b"\x80" * 10 + b"\x00", b"\x80" * 5000],
)
def test_numbers_that_are_cut_short_or_too_long_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidBlock):
        read_number(raw, 0)
    with pytest.raises(InvalidBlock):
        read_span(raw, 0, len(raw))


@pytest.mark.parametrize("value", [-1, 1 << 64])
def test_numbers_that_have_no_form_are_refused(value: int) -> None:
    with pytest.raises(InvalidBlock, match="64 bits"):
        number(value)


# --- dag-pb -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "link",
    [
        b"\x12\x00",  # nothing in it
        field(0x12, field(0x0A, NOTHING.raw)),
        field(0x12, field(0x0A, NOTHING.raw) + b"\x12\x00\x18\x00"),
    ],
)
def test_a_million_empty_links_are_not_built(link: bytes) -> None:
    raw = link * 1_000_000
    for read in (dag_pb.decode, dag_pb.links, dag_pb.split):
        with pytest.raises(InvalidBlock, match="dag-pb"):
            read(raw)


def test_as_many_links_as_a_block_may_have_are_read() -> None:
    raw = field(0x12, field(0x0A, NOTHING.raw)) * MAX_LINKS_PER_BLOCK
    assert len(dag_pb.split(raw).cids) == MAX_LINKS_PER_BLOCK


@pytest.mark.parametrize(
    "raw",
    [
        LINK + DATA + LINK,  # data between links
        DATA + LINK + DATA,
        DATA + DATA,
        b"\x18\x01",  # an unknown field
        b"\x1a\x00",
        b"\x10\x01",  # the links' field as a number
        b"\x92\x00" + LINK[1:],  # the tag longer than it need be
        field(0x12, NAME + HASH),
        field(0x12, HASH + TSIZE + NAME),
        field(0x12, HASH + HASH),
        field(0x12, HASH + NAME + NAME),
        field(0x12, HASH + TSIZE + TSIZE),
        field(0x12, HASH + b"\x20\x01"),
        field(0x12, NAME),
        field(0x12, TSIZE),
        field(0x12, field(0x0A, b"")),
        field(0x12, field(0x0A, X.raw + b"!")),
        field(0x12, field(0x0A, X.raw[:-1])),
        field(0x12, field(0x0A, b"\x02" + X.raw[1:])),  # CID version 2
        field(0x12, field(0x0A, b"\x12\x20" + bytes(31))),
        field(0x12, HASH + b"\x18" + b"\xff" * 10 + b"\x01"),
        field(0x12, HASH + b"\x12\x05name"),  # the name goes beyond its link
        b"\x12\xff\xff\xff\xff\x0f" + HASH,  # the link goes beyond the block
        b"\x0a" + b"\xff" * 9 + b"\x01",
        b"\x12" + b"\x80" * 20,
        LINK[:-1],
        DATA[:-1],
    ],
)
def test_a_node_that_the_specification_does_not_allow_is_refused(raw: bytes) -> None:
    for read in (dag_pb.decode, dag_pb.links, dag_pb.split):
        with pytest.raises(InvalidBlock, match="dag-pb"):
            read(raw)


def test_data_before_the_links_is_read_as_old_writers_made_it() -> None:
    assert dag_pb.decode(DATA + LINK + LINK) == dag_pb.decode(LINK + LINK + DATA)


@given(st.binary(max_size=120) | st.lists(st.sampled_from([LINK, DATA, HASH, NAME, TSIZE, b"\x12"])).map(b"".join))
def test_both_readers_of_a_node_agree(raw: bytes) -> None:
    try:
        node = dag_pb.decode(raw)
    except InvalidBlock:
        with pytest.raises(InvalidBlock):
            dag_pb.split(raw)
        return
    split = dag_pb.split(raw)
    assert split.cids == [link.cid.raw for link in node.links]
    assert split.tsizes == [link.tsize for link in node.links]
    assert bytes(split.data) == (node.data or b"")


def test_a_node_cut_anywhere_is_refused_or_ends_between_fields() -> None:
    raw = LINK + LINK + DATA
    whole = {0, len(LINK), 2 * len(LINK)}
    for end in range(len(raw)):
        if end in whole:
            dag_pb.decode(raw[:end])
        else:
            with pytest.raises(InvalidBlock):
                dag_pb.decode(raw[:end])


# --- UnixFS -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"\x08\x02" + b"\x20\x01" * (MAX_LINKS_PER_BLOCK + 1),
        b"\x08\x02" + field(0x22, b"\x01" * (MAX_LINKS_PER_BLOCK + 1)),  # packed
        b"\x08\x02" + field(0x22, b"\x80"),
        b"\x08\x02\x22\x02\x01",
    ],
)
def test_block_sizes_are_bounded(raw: bytes) -> None:
    with pytest.raises(InvalidBlock, match="UnixFS"):
        unixfs.decode(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x12\x01x",  # no type
        b"\x08\x06",
        b"\x08\xff\xff\xff\xff\x0f",
        b"\x08",
        b"\x08\x02\x12\x05x",
        b"\x08\x02\x0b",  # a group
        b"\x08\x02\x0c",
        b"\x08\x02\x0d\x00",  # four bytes of which three are missing
        b"\x08\x02\x09" + bytes(7),
        b"\x08\x02\x42\x02\x08",
        b"\x08\x02\x42\x03\x08\x80",
        b"\x08\x02\x42\x03\x15\x00\x00",
        b"\x08\x02" + b"\x80" * 11,
    ],
)
def test_what_is_no_unixfs_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidBlock, match="UnixFS"):
        unixfs.decode(raw)


@given(st.binary(max_size=60))
@example(b"\x08\x02\x42\x0d\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x15\xff")
def test_any_bytes_are_a_unixfs_node_or_an_invalid_block(raw: bytes) -> None:
    for data in (raw, raw + field(0x7A, bytes(70_000))):  # a large node is read in place
        try:
            node = unixfs.decode(data)
        except InvalidBlock:
            continue
        assert 0 <= node.type < len(unixfs.TYPE_NAMES)


def test_a_time_that_is_none_does_not_make_a_file_unreadable() -> None:
    assert unixfs.decode(b"\x08\x02\x42\x05\x15\xff\xff\xff\xff").mtime is None
    assert unixfs.decode(b"\x08\x02\x42\x07\x08\x01\x15\xff\xff\xff\xff").mtime is None
    before_1970 = unixfs.encode(unixfs.FSNode(unixfs.FILE, mtime=(-5, 7)))
    assert unixfs.decode(before_1970).mtime == (-5, 7)


# --- files ------------------------------------------------------------------------------------------------------------


def read(store: Store, cid: CID, start: int = 0, stop: int | None = None) -> bytes:
    """A file, or a range of it."""
    return b"".join(store.run(FileReader(cid, start, stop))[0])


@pytest.mark.parametrize("kind", ["raw", "file", "old"])
@pytest.mark.parametrize("said", [0, 2, 4, 1 << 40])
def test_block_sizes_that_lie_are_refused_and_name_the_block(kind: str, said: int) -> None:
    store = Store()
    liar = leaf(store, b"abc", kind)
    root = join(store, [leaf(store, b"before"), liar], blocksizes=[6, said], filesize=6 + said)
    if said == 0:  # then nothing of it belongs to the file
        assert read(store, root.cid) == b"before"
        return
    with pytest.raises(InvalidBlock, match=f"{liar.cid} holds 3 bytes of the file, its parent says {said}"):
        read(store, root.cid)


@pytest.mark.parametrize(
    ("lies", "why"),
    [
        ({"filesize": 4}, "names 4 bytes and has 3"),
        ({"filesize": 1 << 63}, "names 9223372036854775808 bytes and has 3"),
        ({"filesize": 1 << 63, "blocksizes": [1 << 63]}, "has 9223372036854775808 bytes, which cannot be"),
        ({"filesize": None, "blocksizes": [(1 << 64) - 1]}, "which cannot be"),
        ({"blocksizes": [3, 0]}, "has 1 links and the sizes of 2"),
        ({"blocksizes": []}, "has 1 links and the sizes of 0"),
        ({"data": bytes(5)}, "names 3 bytes and has 8"),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(lies: dict[str, Any], why: str) -> None:
    store = Store()
    root = join(store, [leaf(store, b"abc")], **lies)
    for start, stop in ((0, None), (1, 2), (1 << 62, None)):
        with pytest.raises(InvalidBlock, match=f"{root.cid}.*{why}"):
            read(store, root.cid, start, stop)


def test_the_largest_file_that_can_be_named_is_read_where_it_is_asked() -> None:
    store = Store()
    first, last = leaf(store, b"first"), leaf(store, b"last")
    huge = MAX_FILE_BYTES - 9
    root = join(store, [first, Part(X, b""), last], blocksizes=[5, huge, 4], filesize=MAX_FILE_BYTES)
    assert read(store, root.cid, 0, 5) == b"first"
    assert read(store, root.cid, MAX_FILE_BYTES - 4) == b"last"
    assert read(store, root.cid, MAX_FILE_BYTES) == b""
    with pytest.raises(NotFound, match=str(X)):
        read(store, root.cid)


def test_a_file_of_other_things_is_refused() -> None:
    store = Store()
    directory = store.put(dag_pb.encode(dag_pb.PBNode([], b"\x08\x01")))
    graph = value(store, 5)
    plain = store.put(dag_pb.encode(dag_pb.PBNode([], b"no unixfs")))
    for cid, why in ((directory, "a directory"), (graph, "dag-cbor"), (plain, "no UnixFS")):
        root = join(store, [Part(cid, b"abc")])
        with pytest.raises(InvalidBlock, match=f"{cid}.*{why}"):
            read(store, root.cid)
    for cid in (directory, graph):
        with pytest.raises(NotAFile, match=str(cid)):
            read(store, cid)
    with pytest.raises(InvalidBlock, match=str(plain)):
        read(store, plain)


def bomb(store: Store, levels: int, lowest: Part) -> Part:
    """Every node links twice to the one below: 2 to the power of ``levels`` times the content of the lowest."""
    cid, size = lowest.cid, len(lowest.content)
    for _ in range(levels):
        link = dag_pb.PBLink(cid, "", size)
        head = unixfs.FSNode(unixfs.FILE, filesize=2 * size, blocksizes=[size, size])
        cid, size = store.put(dag_pb.encode(dag_pb.PBNode([link, link], unixfs.encode(head)))), 2 * size
    return Part(cid, b"")


def test_a_walk_over_a_bomb_of_diamonds_meets_each_block_once() -> None:
    store = Store()
    root = bomb(store, 30, leaf(store, b"x"))
    out, asked = store.run(DagWalk(root.cid))
    assert len(out) == len(asked) == len(store) == 31


@pytest.mark.parametrize("levels", [30, 50])
def test_a_range_of_a_bomb_of_diamonds_asks_for_its_own_blocks(levels: int) -> None:
    store = Store()
    lowest = leaf(store, b"0123456789abcdef")
    root = bomb(store, levels, lowest)
    middle = 16 << (levels - 1)
    out, asked = store.run(FileReader(root.cid, middle - 20, middle + 20))
    assert b"".join(out) == (lowest.content * 4)[12:52]
    assert len(asked) <= 4 * levels


def test_the_look_ahead_into_a_bomb_of_diamonds_is_bounded() -> None:
    store = Store()
    lowest = leaf(store, bytes(1000))
    root = bomb(store, 50, lowest)
    reader = FileReader(root.cid)
    asked = set()
    for _ in range(500):  # the lowest block is slow, so that nothing can be given out
        assert reader.pop() is None
        for cid, _ in reader.wanted(MIB):
            asked.add(cid)
            if cid != lowest.cid:
                reader.feed(cid, store.get(cid))
        assert reader._held <= OVERDRAFT * MIB
    assert reader.wanted(MIB) == []
    assert lowest.cid in asked
    reader.feed(lowest.cid, bytes(1000))
    assert 1000 <= sum(map(len, iter(reader.pop, None))) <= OVERDRAFT * MIB
    assert not reader.done


def test_identity_cids_hold_at_most_128_bytes() -> None:
    store = Store()
    for size in (128, 129):
        inline = Part(CID(1, RAW, wrap(IDENTITY, bytes(size))), bytes(size))
        root = join(store, [leaf(store, b"abc"), inline])
        for make in (FileReader, DagWalk):
            if size == 128:
                store.run(make(root.cid))
            else:
                with pytest.raises(InvalidCID, match=f"{inline.cid}: identity CIDs carry at most 128 bytes"):
                    store.run(make(root.cid))


# --- paths ------------------------------------------------------------------------------------------------------------


def directory(store: Store, entries: dict[str, CID]) -> CID:
    """A directory with names of any kind."""
    links = [dag_pb.PBLink(cid, name, 1) for name, cid in entries.items()]
    return store.put(dag_pb.encode(dag_pb.PBNode(links, b"\x08\x01")))


def symlink(store: Store, target: str) -> CID:
    head = unixfs.FSNode(unixfs.SYMLINK, target.encode())
    return store.put(dag_pb.encode(dag_pb.PBNode([], unixfs.encode(head))))


def test_symbolic_links_are_not_followed_and_so_cannot_loop() -> None:
    store = Store()
    here, up = symlink(store, "."), symlink(store, "../..")
    root = directory(store, {"here": here, "up": up})
    assert store.resolve(f"{root}/here").cid == here
    for path in ("here/here", "up/here", "here/.", "up/.."):
        with pytest.raises(NotFound, match=f"in {root}/{path.split('/')[0]}"):
            store.resolve(f"{root}/{path}")


@pytest.mark.parametrize("sharded", [False, True])
def test_dots_are_names_like_others_and_empty_segments_are_none(sharded: bool) -> None:
    store = Store()
    if sharded:
        built = build_hamt([dag_pb.PBLink(X, f"n{at}", 1) for at in range(300)], V1_2025, Stat())
        store.update(Store(built.blocks))
        root = built.cid
    else:
        root = directory(store, {"n1": X, "": X})
    for path in ("/", "//", "/ipfs/"):
        assert store.resolve(f"{root}{path}".replace("/ipfs/", "")).cid == root
    assert store.resolve(f"/ipfs/{root}//n1/").cid == X
    for name in (".", "..", "n1/..", "\udcff", "\ud800", "\0", "a" * 100_000, "\x1b[31m"):
        with pytest.raises(NotFound) as caught:
            store.resolve(f"{root}/{name}")
        assert "\x1b" not in str(caught.value)


def test_names_that_are_no_utf8_resolve_by_their_bytes() -> None:
    store = Store()
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    root = directory(store, {name: X})
    assert store.resolve(f"{root}/{name}").cid == X


@pytest.mark.parametrize("segment", ["1", "-1", "+0", " 0", "0x0", "٠", "²", "1e0", "9" * 5000, "", "a"])
def test_places_of_a_list_are_plain_numbers(segment: str) -> None:
    store = Store()
    root = value(store, ["zero"])
    if not segment:
        assert store.resolve(f"{root}/{segment}").cid == root
        return
    with pytest.raises(NotFound):
        store.resolve(f"{root}/{segment}")


def test_a_path_has_a_limit_and_a_block_that_is_none_is_named() -> None:
    store = Store()
    with pytest.raises(InvalidCID, match="segments"):
        paths.parse("/".join([str(X), *["a"] * (MAX_PATH_SEGMENTS + 1)]))
    for codec, raw in ((DAG_PB, b"\xff"), (DAG_CBOR, b"\xff"), (DAG_JSON, b"{"), (0x78, b"")):
        cid = store.put(raw, codec)
        with pytest.raises((InvalidBlock, NotSupported), match=str(cid)):
            store.resolve(f"{cid}/a")
        with pytest.raises((InvalidBlock, NotSupported), match=str(cid)):
            codecs.links(cid, raw)


@given(st.text(max_size=20))
def test_any_text_is_a_path_or_a_typed_error(text: str) -> None:
    for path in (text, f"/ipfs/{text}", f"{X}/{text}"):
        try:
            paths.parse(path)
        except IPFSKitError:
            continue


# --- dag-cbor ---------------------------------------------------------------------------------------------------------

LINK_CBOR = b"\xd8\x2a" + b"\x58\x25\x00" + X.raw
RELAXED = [
    (b"\x18\x05", 5),  # numbers and lengths longer than they need be
    (b"\x1b" + bytes(7) + b"\x05", 5),
    (b"\x38\x05", -6),
    (b"\x78\x01a", "a"),
    (b"\x58\x01a", b"a"),
    (b"\x98\x01\x05", [5]),
    (b"\xb8\x01\x61a\x05", {"a": 5}),
    (b"\xa1\x78\x01a\x05", {"a": 5}),
    (b"\xd9\x00\x2a" + LINK_CBOR[2:], X),
    (b"\xa2\x61b\x01\x61a\x02", {"b": 1, "a": 2}),  # keys in another order
    (b"\xa2\x62aa\x01\x61b\x02", {"aa": 1, "b": 2}),
    (b"\xf9\x3c\x00", 1.0),  # short floats
    (b"\xfa\x3f\x80\x00\x00", 1.0),
]


@pytest.mark.parametrize(("raw", "expected"), RELAXED)
def test_old_forms_are_read_where_the_block_is_there_and_refused_where_form_counts(raw: bytes, expected: Any) -> None:
    with pytest.raises(InvalidBlock):
        dag_cbor.decode(raw)
    with pytest.raises(InvalidBlock):
        codecs.decode(DAG_CBOR, raw)
    cid = CID.of(raw, DAG_CBOR)
    assert codecs.read(cid, raw) == expected
    assert codecs.decode(CBOR, raw) == expected
    assert codecs.links(cid, raw) == dag_cbor.links_of(expected)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xa2\x61a\x01\x61a\x02",  # a key twice
        b"\xa2\x61a\x01\x78\x01a\x02",
        b"\xa1\x41a\x01",  # keys that are no text
        b"\xa1\x01\x01",
        b"\xa1\x80\x01",
        b"\xa1" + LINK_CBOR + b"\x01",
        b"\xa1\xf6\x01",
        b"\xfb\x7f\xf8" + bytes(6),  # NaN
        b"\xfb\x7f\xf0" + bytes(6),  # infinity
        b"\xfb\xff\xf0" + bytes(6),
        b"\xf9\x7e\x00",
        b"\xf9\x7c\x00",
        b"\xfa\x7f\xc0\x00\x00",
        b"\x9f\xff",  # no length
        b"\xbf\xff",
        b"\x5f\x41a\xff",
        b"\x7f\x61a\xff",
        b"\xff",
        b"\xf7",  # undefined
        b"\xf8\x20",
        b"\xe0",
        b"\xf3",
        b"\x1c",  # lengths that mean nothing
        b"\x3d",
        b"\x7e",
        b"\xc0\x00",  # other tags
        b"\xc1\x00",
        b"\xc2\x41\x01",
        b"\xd8\x2b" + LINK_CBOR[2:],
        b"\xd9\xd9\xf7\x00",
        b"\xd8\x2a\x00",  # links that are none
        b"\xd8\x2a\x40",
        b"\xd8\x2a\x41\x00",
        b"\xd8\x2a\x58\x24" + X.raw,
        b"\xd8\x2a\x58\x25\x01" + X.raw,
        b"\xd8\x2a\x78\x25\x00" + X.raw,
        b"\xd8\x2a" + LINK_CBOR,
        LINK_CBOR[:-1],
        b"\x61\xff",  # no UTF-8
        b"\x63\xed\xa0\x80",  # half of a surrogate pair
        b"\x01\x01",
        b"\x82\x01",
        b"\xa1\x61a",
        b"\x9b" + b"\xff" * 8,  # lengths that nobody could hold
        b"\xbb" + b"\xff" * 8,
        b"\x5b" + b"\xff" * 8,
        b"\x7b" + b"\x7f" * 8,
        b"\x9a\xff\xff\xff\xff" + b"\x00" * 100,
        b"",
    ],
)
def test_what_no_reader_of_dag_cbor_may_take_is_refused(raw: bytes) -> None:
    for strict in (True, False):
        with pytest.raises(InvalidBlock, match="dag-cbor"):
            dag_cbor.decode(raw, strict=strict)


@pytest.mark.parametrize("opening", [b"\x81", b"\xa1\x61a", b"\x82\x00"])
def test_depth_is_bounded_in_values_and_not_needed_for_links(opening: bytes) -> None:
    deepest = opening * MAX_CODEC_DEPTH + b"\x00"
    assert dag_cbor.encode(dag_cbor.decode(deepest)) == deepest
    with pytest.raises(InvalidBlock, match="deeper"):
        dag_cbor.decode(opening + deepest)
    with pytest.raises(InvalidBlock):
        dag_cbor.decode(opening * 600_000)
    assert dag_cbor.links(opening * 300_000 + LINK_CBOR) == [X]
    with pytest.raises(InvalidBlock, match="cut short"):
        dag_cbor.links(opening * 300_000)


def test_values_that_go_too_deep_or_round_in_circles_are_not_written() -> None:
    circle: list[Any] = []
    circle.append(circle)
    deep: Any = 0
    for _ in range(MAX_CODEC_DEPTH):
        deep = [deep]
    assert dag_cbor.encode(dag_cbor.decode(dag_cbor.encode(deep))) == dag_cbor.encode(deep)
    for found in (circle, [deep], {"a": deep}):
        for codec in (DAG_CBOR, DAG_JSON, JSON):
            if found is not circle and codec == JSON:
                continue
            with pytest.raises(InvalidBlock):
                codecs.encode(found, codec)
    with pytest.raises(InvalidBlock):
        codecs.encode({"a": {"b": circle}}, JSON)


def test_a_million_links_are_not_gathered() -> None:
    link = b"\xd8\x2a\x45\x00" + NOTHING.raw
    with pytest.raises(InvalidBlock, match="links"):
        dag_cbor.links(b"\x9a" + struct.pack(">I", 1_000_000) + link * 1_000_000)


@given(st.binary(max_size=60))
def test_links_are_those_of_the_value(raw: bytes) -> None:
    try:
        found = dag_cbor.decode(raw, strict=False)
    except InvalidBlock:
        return
    assert dag_cbor.links(raw) == dag_cbor.links_of(found)


# --- dag-json ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '{"/":1}',
        '{"/":null}',
        '{"/":[]}',
        '{"/":{}}',
        '{"/":""}',
        '{"/":"x"}',
        '{"/":{"bytes":1}}',
        '{"/":{"bytes":"!"}}',
        '{"/":{"bytes":"AA","more":1}}',
        '{"/":{"/":"bafkqaaa"}}',
        '{"/":"bafkqaaa","a":1}',
        '{"a":1,"/":"bafkqaaa"}',
        '{"/":{"bytes":"AA"},"a":1}',
        '{"/":{"x":1},"a":1}',
        '{"/":{"/":"bafkqaaa"},"a":1}',
        '{"/":"bafkqaaa","/":"bafkqaaa"}',
        '{"a":1,"\\u0061":2}',
        '"\\ud800"',
        '{"\\uDFFF":1}',
        "NaN",
        "-Infinity",
        "1e400",
        "[1,]",
        "{'a':1}",
        "01",
        "1 2",
        "9" * 5000,
        "",
    ],
)
def test_what_no_reader_of_dag_json_may_take_is_refused(text: str) -> None:
    with pytest.raises(InvalidBlock, match="dag-json"):
        dag_json.decode(text.encode())


@pytest.mark.parametrize(
    "found",
    [{"/": 1}, {"/": "x"}, {"/": {"bytes": "AA"}}, {"/": X, "a": 1}, {"/": b"x", "a": 1}, {"/": {}, "a": 1}, {"/": {}}],
)
def test_what_would_read_as_something_else_is_not_written(found: Any) -> None:
    with pytest.raises(InvalidBlock, match="dag-json"):
        dag_json.encode(found)


@given(st.dictionaries(st.sampled_from(["/", "a", "!", "bytes"]), st.none() | st.integers() | st.lists(st.text())))
def test_maps_with_a_slash_come_back_or_are_refused(found: dict[str, Any]) -> None:
    try:
        raw = dag_json.encode(found)
    except InvalidBlock:
        assert list(found) == ["/"]
        return
    assert dag_json.decode(raw) == found


def test_numbers_without_end_are_not_written() -> None:
    for codec in (DAG_CBOR, DAG_JSON, JSON):
        with pytest.raises(InvalidBlock):
            codecs.encode(10**5000, codec)


@pytest.mark.parametrize(
    "raw", [b'"' + b'\\"' * 400_000, b'["' + b"\\" * 800_001, b'"' * 800_001, b'{"a":"' + b"[" * 800_000]
)
def test_strings_without_end_are_looked_at_once(raw: bytes) -> None:
    with pytest.raises(InvalidBlock):  # one pass; a look from every quote on would take an hour
        dag_json.decode(raw)


def test_brackets_in_strings_are_no_nesting() -> None:
    text = json.dumps(["[" * 1000, '\\"[', {"{" * 1000: '"'}])
    assert dag_json.decode(text.encode()) == json.loads(text)


# --- plain JSON and others --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "raw"),
    [(JSON, b"[" * 100_000), (JSON, b"\xff"), (JSON, b"{"), (CBOR, b"\xff"), (DAG_JSON, b"[" * 100_000)],
)
def test_every_codec_refuses_with_the_same_error(codec: int, raw: bytes) -> None:
    with pytest.raises(InvalidBlock):
        codecs.decode(codec, raw)


def test_codecs_that_are_not_known_are_said_to_be() -> None:
    for run in (lambda: codecs.decode(0x78, b""), lambda: codecs.encode(1, 0x78), lambda: codecs.codec_number("git")):
        with pytest.raises(NotSupported, match="codec"):
            run()
