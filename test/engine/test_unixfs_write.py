"""Files: the CIDs of IPIP-499's table, the balanced layout by its definition, streaming, mode and time, symlinks."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import CID, DAG_PB, RAW, Block
from ipfs_kit_py.core.config import KIB, MIB
from ipfs_kit_py.core.errors import LocalError
from ipfs_kit_py.dag import dag_pb, unixfs
from ipfs_kit_py.dag.builder import FileBuilder, build_file, build_symlink, wrap_leaf
from ipfs_kit_py.dag.profiles import V0_2015, V1_2025, Profile, Stat

SMALL = V1_2025.replace(chunk_size=4, max_links=3)
SMALL_V0 = V0_2015.replace(chunk_size=4, max_links=3)


def keystream(seed: str, size: int) -> bytes:
    """The test bytes of IPIP-499."""
    cipher = Cipher(ChaCha20(hashlib.sha256(seed.encode()).digest(), bytes(16)), None)
    return cipher.encryptor().update(bytes(size))


@pytest.mark.parametrize(
    ("profile", "seed", "size", "cid"),
    [
        (V0_2015, "chunk-v0-seed", 256 * KIB, "QmWmRj3dFDZdb6ABvbmKhEL6TmPbAfBZ1t5BxsEyJrcZhE"),
        (V0_2015, "chunk-v0-seed", 256 * KIB + 1, "QmYyLxtzZyW22zpoVAtKANLRHpDjZtNeDjQdJrcQNWoRkJ"),
        (V0_2015, "v0-seed", 174 * 256 * KIB, "QmUbBALi174SnogsUzLpYbD4xPiBSFANF4iztWCsHbMKh2"),
        (V0_2015, "v0-seed", 174 * 256 * KIB + 1, "QmV81WL765sC8DXsRhE5fJv2rwhS4icHRaf3J9Zk5FdRnW"),
        (V1_2025, "chunk-v1-seed", MIB, "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta"),
        (V1_2025, "chunk-v1-seed", MIB + 1, "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64"),
    ],
)
def test_the_cids_of_the_specifications_table(profile: Profile, seed: str, size: int, cid: str) -> None:
    assert str(build_file(keystream(seed, size), profile).cid) == cid


@pytest.mark.parametrize(
    ("profile", "content", "cid"),
    [
        (V0_2015, b"hello world", "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"),
        (V1_2025, b"hello world", "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
        (V0_2015, b"", "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"),
        (V1_2025, b"", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
    ],
)
def test_the_cids_of_small_files(profile: Profile, content: bytes, cid: str) -> None:
    built = build_file(content, profile)
    assert str(built.cid) == cid
    assert built.size == len(content)


def reference(data: bytes, profile: Profile) -> tuple[CID, int]:
    """The balanced layout as it is defined: rows of full nodes until one is left. Root and cumulative size."""
    step = profile.chunk_size
    row = []
    for chunk in [data[at : at + step] for at in range(0, len(data), step)] or [b""]:
        leaf = chunk
        if not profile.raw_leaves:
            head = unixfs.FSNode(type=unixfs.FILE, data=chunk or None, filesize=len(chunk))
            leaf = dag_pb.encode(dag_pb.PBNode([], unixfs.encode(head)))
        cid = CID.of(leaf, RAW if profile.raw_leaves else DAG_PB, version=1 if profile.raw_leaves else 0)
        row.append((cid, len(chunk), len(leaf)))
    while len(row) > 1:
        above = []
        for at in range(0, len(row), profile.max_links):
            part = row[at : at + profile.max_links]
            sizes = [size for _, size, _ in part]
            head = unixfs.FSNode(type=unixfs.FILE, filesize=sum(sizes), blocksizes=sizes)
            links = [dag_pb.PBLink(cid, "", tsize) for cid, _, tsize in part]
            block = dag_pb.encode(dag_pb.PBNode(links, unixfs.encode(head)))
            cid = CID.of(block, DAG_PB, version=profile.cid_version)
            above.append((cid, sum(sizes), len(block) + sum(tsize for _, _, tsize in part)))
        row = above
    return row[0][0], row[0][2]


@given(st.sampled_from([SMALL, SMALL_V0]), st.integers(0, 400), st.lists(st.integers(1, 50), max_size=20))
def test_any_writes_give_the_balanced_layout_and_all_of_its_blocks(
    profile: Profile, size: int, cuts: list[int]
) -> None:
    data = hashlib.shake_128(b"%d" % size).digest(size)
    builder = FileBuilder(profile)
    blocks: list[Block] = []
    at = 0
    for cut in cuts:
        blocks += builder.write(data[at : at + cut])
        at += cut
    blocks += builder.write(data[at:])
    built = builder.finish()
    blocks += built.blocks
    assert (built.cid, built.tsize) == reference(data, profile)
    assert built.size == builder.size == size
    assert all(block.cid.verify(block.data) for block in blocks)
    assert content({block.cid: bytes(block.data) for block in blocks}, built.cid) == data
    assert blocks[-1].cid == built.cid


def content(blocks: dict[CID, bytes], cid: CID) -> bytes:
    if cid.codec == RAW:
        return blocks[cid]
    node = dag_pb.decode(blocks[cid])
    head = unixfs.decode(node.data or b"")
    parts = [content(blocks, link.cid) for link in node.links]
    assert list(head.blocksizes) == [len(part) for part in parts]
    whole = b"".join(parts) + bytes(head.data or b"")
    assert head.filesize == len(whole)
    return whole


def test_leaves_hashed_elsewhere_give_the_same_file() -> None:
    data = keystream("leaves", 50)
    builder = FileBuilder(SMALL)
    leaves = [builder.leaf(data[at : at + 4]) for at in range(0, 50, 4)]
    blocks = [block for leaf in leaves for block in builder.add_leaf(leaf)]
    built = builder.finish()
    whole = build_file(data, SMALL)
    assert built.cid == whole.cid
    assert [*blocks, *built.blocks] == whole.blocks


def test_memory_does_not_grow_with_the_file() -> None:
    builder = FileBuilder(SMALL)
    leaf = builder.leaf(b"abcd")
    count = sum(len(builder.add_leaf(leaf)) for _ in range(3**7))
    built = builder.finish()
    # All nodes but those on the way from the root to the last leaf were handed out on the way.
    assert len(built.blocks) == 7
    assert count + 7 == sum(3**level for level in range(8))


def test_whole_chunks_are_not_copied() -> None:
    data = bytearray(b"aaaabbbb")
    blocks = FileBuilder(SMALL).write(data)
    data[0] = ord("x")
    assert bytes(blocks[0].data) == b"xaaa"


def test_leaves_come_in_the_order_and_length_of_the_file() -> None:
    builder = FileBuilder(SMALL)
    with pytest.raises(LocalError, match="5 bytes"):
        builder.add_leaf(builder.leaf(b"abcde"))
    builder.add_leaf(builder.leaf(b"ab"))
    with pytest.raises(LocalError, match="follow 2 bytes"):
        builder.add_leaf(builder.leaf(b"abcd"))


def test_a_finished_file_takes_no_more() -> None:
    builder = FileBuilder(SMALL)
    builder.write(b"abcd")
    builder.finish()
    with pytest.raises(LocalError):
        builder.write(b"abcd")
    with pytest.raises(LocalError):
        builder.finish()


@given(st.binary(max_size=300), st.sampled_from([Stat(), Stat(0o644), Stat(0, (0, 0)), Stat(None, (-5, 999_999_999))]))
def test_wrapped_leaves_are_what_the_codecs_make(data: bytes, stat: Stat) -> None:
    # An empty file has no data field at all.
    head = unixfs.FSNode(type=unixfs.FILE, data=data or None, filesize=len(data), mode=stat.mode, mtime=stat.mtime)
    assert wrap_leaf(data, stat) == dag_pb.encode(dag_pb.PBNode([], unixfs.encode(head)))


@pytest.mark.parametrize("size", [0, 3, 4, 5, 12, 13, 40])
def test_mode_and_time_are_on_the_root_alone(size: int) -> None:
    stat = Stat(0o640, (1_700_000_000, 5))
    data = keystream("stat", size)
    built = build_file(data, SMALL, stat)
    blocks = {block.cid: bytes(block.data) for block in built.blocks}
    found = {cid: unixfs.decode(dag_pb.decode(raw).data or b"") for cid, raw in blocks.items()}
    assert {cid for cid, head in found.items() if head.mode is not None} == {built.cid}
    assert (found[built.cid].mode, found[built.cid].mtime) == stat
    assert content(blocks, built.cid) == data
    assert built.tsize == sum(map(len, blocks.values())) or len(set(blocks)) < len(built.blocks)


def test_a_first_chunk_that_waits_is_kept_by_value() -> None:
    data = bytearray(b"abcd")
    builder = FileBuilder(SMALL, Stat(0o600))
    assert builder.write(data) == []
    data[:] = b"zzzz"
    assert builder.finish().cid == build_file(b"abcd", SMALL, Stat(0o600)).cid


def test_symlinks() -> None:
    built = build_symlink("ipfs.txt", V0_2015)
    [block] = built.blocks
    assert bytes(block.data) == b"\x0a\x0c\x08\x04\x12\x08ipfs.txt"
    assert (built.cid, built.tsize) == (CID.of(block.data, DAG_PB, version=0), 14)
    outside = build_symlink("../\udcff/x", V1_2025)
    head = unixfs.decode(dag_pb.decode(outside.blocks[0].data).data or b"")
    assert bytes(head.data or b"") == b"../\xff/x"


def test_inlined_blocks_are_not_stored_but_count() -> None:
    inline = V1_2025.replace(chunk_size=4, max_links=3, inline_limit=4)
    built = build_file(b"abcdef", inline)
    [root] = built.blocks
    links = dag_pb.decode(root.data).links
    assert [link.cid.digest for link in links] == [b"abcd", b"ef"]
    assert built.tsize == len(bytes(root.data)) + 6
    assert build_file(b"abc", inline).blocks == []
