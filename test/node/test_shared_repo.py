"""Several processes on one repo: what one has the others have, and each is a peer of its own."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py import NodeConfig, open_node
from ipfs_kit_py.core.errors import IPFSKitError
from ipfs_kit_py.dag.builder import build_file
from ipfs_kit_py.dag.profiles import V1_2025
from test.node.children import MIB, content

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier
    from pathlib import Path

    from test.node.conftest import Child

SIZE = 8 * MIB


def sha256(seed: int, size: int = SIZE) -> str:
    return hashlib.sha256(content(size, seed)).hexdigest()


def test_one_reads_what_the_other_adds(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    writer = spawn("add", tmp_path, SIZE, 1)
    assert writer.hear()["ready"]
    writer.go_on()
    cid = writer.hear()["cid"]
    reader = spawn("read", tmp_path, cid)
    assert reader.hear()["ready"]
    assert reader.hear()["sha256"] == sha256(1)


def test_one_that_waits_gets_what_the_other_adds_later(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    cid = build_file(content(1000, 1), V1_2025).cid
    writer, reader = spawn("add", tmp_path, 1000, 1), spawn("read", tmp_path, cid)
    assert writer.hear()["ready"]
    assert reader.hear()["ready"]
    writer.go_on()
    assert writer.hear()["cid"] == str(cid)
    assert reader.hear()["sha256"] == sha256(1, 1000)


def test_both_fetch_from_the_same_peer_at_once(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    """The peer must not take them for one: it would send the blocks of one to the other."""
    server = spawn("serve", 24 * MIB, 1, 2, 3)
    facts = server.hear()
    fetchers = [spawn("fetch", tmp_path, facts["address"], cid, "paced") for cid in facts["cids"]]
    peers = {fetcher.hear()["peer"] for fetcher in fetchers}
    assert len(peers) == 3
    rng = random.Random(1)
    for fetcher in fetchers:
        fetcher.go_on()
    waiting = dict(enumerate(fetchers, 1))
    while waiting:
        seed = rng.choice(list(waiting))
        found = waiting[seed].hear()
        if "sha256" in found:
            assert found["sha256"] == sha256(seed, 24 * MIB)
            assert (found["unwanted"], found["refused"]) == (0, 0)
            assert found["received"] < 26 * MIB
            del waiting[seed]
        else:
            waiting[seed].go_on()
    for fetcher in fetchers:
        fetcher.go_on()


def begin(folder: Path, barrier: Barrier, failures: Queue[str]) -> None:
    """One of several processes that make each repo at the same moment."""

    async def visit(repo: Path) -> None:
        async with open_node(NodeConfig(repo=repo)) as node:
            await node.add_bytes(b"of all")

    for number in range(20):
        barrier.wait(60)
        try:
            trio.run(visit, folder / str(number))
        except IPFSKitError as error:
            failures.put(str(error))
    failures.put("")


def test_several_begin_a_repo_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, failures = context.Barrier(3), context.Queue()
    children = [context.Process(target=begin, args=(tmp_path, barrier, failures)) for _ in range(3)]
    for child in children:
        child.start()
    found = []
    while found.count("") < 3:
        found.append(failures.get(timeout=120))
    for child in children:
        child.join()
    assert found == [""] * 3


def test_both_fetch_the_same_file(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    server = spawn("serve", SIZE, 1)
    facts = server.hear()
    fetchers = [spawn("fetch", tmp_path, facts["address"], facts["cids"][0], "") for _ in range(2)]
    for fetcher in fetchers:
        fetcher.hear()
    for fetcher in fetchers:
        assert fetcher.hear()["sha256"] == sha256(1)


def test_the_repos_identity_is_that_of_the_first_and_free_again_after_it(
    tmp_path: Path, spawn: Callable[..., Child]
) -> None:
    server = spawn("serve", 1000, 1)
    facts = server.hear()

    def fetcher() -> Child:
        return spawn("fetch", tmp_path, facts["address"], facts["cids"][0], "paced")

    first = fetcher()
    name = first.hear()["peer"]
    second = fetcher()
    assert second.hear()["peer"] != name
    first.kill()
    assert fetcher().hear()["peer"] == name
