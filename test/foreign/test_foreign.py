"""Programs in C, Go and Python, none of which knows this package, read blocks in place while a store evicts."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ipfs_kit_py.core.errors import BlockLeased
from ipfs_kit_py.storage.disk import DiskStore
from ipfs_kit_py.storage.shm import SharedMemoryStore
from test.peers import locate
from test.storage.blocks import block, false_block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ipfs_kit_py.core.cid import CID, Block

    Compile = Callable[[Path], list[str]]

pytestmark = pytest.mark.interop  # what they are compiled with may still be being installed

HERE = Path(__file__).parent
SIZE = 100_000
QUOTA = 1_000_000
FOUND, ABSENT, LOST = 0, 1, 3


def compile_c(folder: Path) -> list[str]:
    lmdb, program = locate.lmdb_source(), folder / "read_block_c"
    compiler = locate.c_compiler()
    ours = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-c", str(HERE / "read_block.c")]
    subprocess.run([*compiler, *ours, "-I", str(lmdb), "-o", f"{program}.o"], check=True)
    theirs = [f"{program}.o", str(lmdb / "mdb.c"), str(lmdb / "midl.c"), "-w", "-O1", "-pthread"]
    subprocess.run([*compiler, *theirs, "-o", str(program)], check=True)
    return [str(program)]


def compile_go(folder: Path) -> list[str]:
    program = folder / "read_block_go"
    settings = os.environ | {"CGO_ENABLED": "1", "CC": " ".join(locate.c_compiler())}
    command = [locate.go(), "build", "-trimpath", "-o", str(program), "."]
    subprocess.run(command, cwd=HERE / "go", env=settings, check=True)
    return [str(program)]


def run_python(_folder: Path) -> list[str]:
    return [sys.executable, "-I", str(HERE / "read_block.py")]


@pytest.fixture(scope="module", params=[compile_c, compile_go, run_python], ids=["c", "go", "python"])
def command(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    make: Compile = request.param
    try:
        return make(tmp_path_factory.mktemp("program"))
    except locate.PeerMissing as error:
        pytest.skip(str(error))


class Reader:
    """A program that has found a block and waits before it reads it."""

    def __init__(self, command: list[str], store: Path, cid: CID, seconds: int = 60) -> None:
        self.process = subprocess.Popen(
            [*command, str(store), cid.multihash.hex(), str(seconds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ready(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline().decode().strip()

    def read(self) -> tuple[int, bytes]:
        """What it ends with, and the bytes."""
        output, errors = self.process.communicate(b"\n", timeout=60)
        assert self.process.returncode in (FOUND, ABSENT, LOST), errors
        return self.process.returncode, output

    def anonymous_bytes(self) -> int:
        """Memory of its own: what it mapped from a file is not in it."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon"))

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        with self.process:
            pass


@pytest.fixture(params=["disk", "shared memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DiskStore]:
    with DiskStore(tmp_path, quota=QUOTA) if request.param == "disk" else SharedMemoryStore(QUOTA) as store:
        yield store


@pytest.fixture
def folder(store: DiskStore) -> Path:
    return store.path


def press(store: DiskStore, count: int = 30) -> None:
    """Put three times what the quota takes."""
    for number in range(1000, 1000 + count):
        store.put_many([block(number, SIZE)])


def has(store: DiskStore, entry: Block) -> bool:
    return store.has_many([entry.cid])[0]


def test_reads_what_is_there(command: list[str], folder: Path, store: DiskStore) -> None:
    kept, fetched = [block(1, SIZE), block(2, 50)], [block(3, SIZE), block(4, 50), block(0, 0), block(5, 2040)]
    store.put_many(kept, kept=True)
    store.put_many(fetched)
    for entry in kept + fetched:
        with Reader(command, folder, entry.cid) as reader:
            assert reader.read() == (FOUND, entry.data)
    with Reader(command, folder, block(9, 9).cid) as reader:
        assert reader.read() == (ABSENT, b"")
    assert os.listdir(folder / "leases") == ["stamps"]


def test_a_block_stays_in_place_while_the_store_evicts(command: list[str], folder: Path, store: DiskStore) -> None:
    leased, other = block(1, SIZE), block(2, SIZE)
    store.put_many([leased, other])
    with Reader(command, folder, leased.cid) as reader:
        assert reader.ready() == f"ready {SIZE}"
        press(store)
        environment = store._use().fetched.environment
        assert environment.lagging(environment.last_txn) == [], "it holds no snapshot"
        assert (has(store, leased), has(store, other)) == (True, False)
        with pytest.raises(BlockLeased):
            store.delete_many([leased.cid])
        assert reader.read() == (FOUND, leased.data)
    press(store)
    assert not has(store, leased)


def test_nothing_is_copied(command: list[str], tmp_path: Path) -> None:
    with DiskStore(tmp_path) as store:
        large = false_block(1, os.urandom(1 << 20) * 100)
        store.put_many([large])
        with Reader(command, tmp_path, large.cid) as reader:
            assert reader.ready() == f"ready {100 << 20}"
            assert reader.anonymous_bytes() < 50 << 20
            code, output = reader.read()
            assert code == FOUND
            assert output == large.data


def test_the_lease_of_a_killed_program_ends(command: list[str], folder: Path, store: DiskStore) -> None:
    leased = block(1, SIZE)
    store.put_many([leased])
    with Reader(command, folder, leased.cid) as reader:
        assert reader.ready() == f"ready {SIZE}"
        reader.process.kill()
        reader.process.wait()
        assert store.delete_many([leased.cid]) == 1


def test_it_finds_out_that_its_lease_was_taken(command: list[str], folder: Path, store: DiskStore) -> None:
    leased = block(1, SIZE)
    store.put_many([leased])
    with Reader(command, folder, leased.cid) as reader:
        assert reader.ready() == f"ready {SIZE}"
        store.put_many([block(number, SIZE) for number in range(2, 12)], kept=True)
        assert not has(store, leased)
        assert reader.read()[0] == LOST


def test_many_read_while_the_store_evicts(command: list[str], folder: Path, store: DiskStore) -> None:
    span, right = 15, 0
    for start in range(0, 60, 6):
        store.put_many([block((start + 5) % span, SIZE)])
        with ExitStack() as stack:
            wanted = [block(number % span, SIZE) for number in range(start, start + 6)]
            readers = [stack.enter_context(Reader(command, folder, entry.cid)) for entry in wanted]
            for number in range(start, start + 2 * span):
                store.put_many([block(number % span, SIZE)])
            for entry, reader in zip(wanted, readers, strict=True):
                code, output = reader.read()
                assert code != FOUND or output == entry.data
                right += code == FOUND
    assert right > 0


def test_the_python_program_needs_lmdb_alone() -> None:
    names = {line.split()[1] for line in (HERE / "read_block.py").read_text().splitlines() if line.startswith("import")}
    assert names - sys.stdlib_module_names == {"lmdb"}
