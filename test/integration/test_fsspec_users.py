"""Libraries that know nothing of IPFS read and write it through fsspec: from another node, over libp2p."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import dask.dataframe
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pytest
import xarray
import zarr
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from zarr.storage import FsspecStore

from ipfs_kit_py._backend import open_backend
from ipfs_kit_py.core.config import NodeConfig
from ipfs_kit_py.ipfs_fsspec import IPFSFileSystem, MFSFileSystem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ipfs_kit_py._backend import Backend

# before datasets is imported by the test that needs it: it must not call home
os.environ |= {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}

RNG = random.Random(2)
TABLE = pd.DataFrame(
    {
        "year": [2023 + at % 3 for at in range(6000)],
        "n": range(6000),
        "s": [RNG.randbytes(20).hex() for _ in range(6000)],
    }
)


@pytest.fixture(scope="module")
def author() -> Iterator[Backend]:
    """The node that has it all."""
    found = open_backend(NodeConfig())
    yield found
    found.close()


@pytest.fixture(scope="module")
def root(author: Backend) -> MFSFileSystem:
    """The author's writable root, with a table in several forms."""
    fs = MFSFileSystem.on_backend(author)
    with fs.open("/table.csv", "w") as file:
        TABLE.to_csv(file, index=False)
    TABLE.to_parquet("/table.parquet", filesystem=fs, index=False)
    TABLE.to_parquet("/parts", filesystem=fs, index=False, partition_cols=["year"])
    return fs


@pytest.fixture
def reader(author: Backend) -> Iterator[dict[str, Any]]:
    """The options of a filesystem whose node has nothing, and has fetched something when the test ends."""
    options = {"repo": ":memory:", "peers": author.row("id")["Addresses"]}
    fs = IPFSFileSystem(**options)
    assert fs.opened.backend.row("stats")["exchange"]["blocks_received"] == 0
    yield options
    assert fs.opened.backend.row("stats")["exchange"]["blocks_received"] > 0
    for found in IPFSFileSystem._cache.values():
        found.close()
    IPFSFileSystem.clear_instance_cache()


def arrow(fs: IPFSFileSystem) -> pa.fs.FileSystem:
    return pa.fs.PyFileSystem(pa.fs.FSSpecHandler(fs))


def test_pandas_reads(root: MFSFileSystem, reader: dict[str, Any]) -> None:
    url = f"ipfs://{root.root_cid}"
    pd.testing.assert_frame_equal(pd.read_csv(f"{url}/table.csv", storage_options=reader), TABLE)
    pd.testing.assert_frame_equal(pd.read_parquet(f"{url}/table.parquet", storage_options=reader), TABLE)
    parts = pd.read_parquet(f"{url}/parts", storage_options=reader, filters=[("year", "==", 2024)])
    assert parts["n"].sum() == TABLE[TABLE.year == 2024]["n"].sum()


def test_pandas_writes_by_url(tmp_path: Path) -> None:
    options = {"repo": str(tmp_path / "repo"), "offline": True}
    TABLE.to_parquet("mfs:///out/table.parquet", storage_options=options)
    TABLE.to_csv("mfs:///out/table.csv.gz", storage_options=options, index=False)
    pd.testing.assert_frame_equal(pd.read_parquet("mfs:///out/table.parquet", storage_options=options), TABLE)
    pd.testing.assert_frame_equal(pd.read_csv("mfs:///out/table.csv.gz", storage_options=options), TABLE)
    fs = fsspec.filesystem("mfs", **options)
    assert fs.find("/") == ["/out/table.csv.gz", "/out/table.parquet"]
    fs.close()


def test_a_dataset_of_arrow(author: Backend, root: MFSFileSystem, reader: dict[str, Any]) -> None:
    pa.dataset.write_dataset(
        pa.Table.from_pandas(TABLE), "/arrow", filesystem=arrow(root), format="parquet",
        partitioning=pa.dataset.partitioning(pa.schema([("year", pa.int64())]), flavor="hive"),
    )  # fmt: skip
    found = pa.dataset.dataset(
        root.cid("/arrow"), format="parquet", partitioning="hive", filesystem=arrow(IPFSFileSystem(**reader))
    )
    assert found.count_rows() == 6000
    chosen = found.to_table(columns=["n"], filter=pa.dataset.field("year") == 2025)
    assert chosen.column("n").to_pylist() == TABLE[TABLE.year == 2025]["n"].tolist()


def test_an_array_of_zarr(root: MFSFileSystem, reader: dict[str, Any]) -> None:
    values = np.arange(10_000, dtype="f8").reshape(100, 100)
    store = FsspecStore(AsyncFileSystemWrapper(root, asynchronous=True), path="/array.zarr")
    written = zarr.create_group(store=store).create_array("x", shape=(100, 100), chunks=(25, 25), dtype="f8")
    written[:] = values
    found = zarr.open_group(f"ipfs://{root.cid('/array.zarr')}", mode="r", storage_options=reader)
    assert (found["x"][30:60, :10] == values[30:60, :10]).all()
    assert (found["x"][:] == values).all()


def test_a_dataset_of_xarray(root: MFSFileSystem, reader: dict[str, Any]) -> None:
    made = xarray.Dataset({"t": (("x", "y"), np.random.default_rng(1).random((50, 60)))}, coords={"x": np.arange(50)})
    store = FsspecStore(AsyncFileSystemWrapper(root, asynchronous=True), path="/set.zarr")
    made.to_zarr(store, consolidated=False)
    url = f"ipfs://{root.cid('/set.zarr')}"
    for chunks in (None, {}):
        with xarray.open_zarr(url, storage_options=reader, consolidated=False, chunks=chunks) as found:
            xarray.testing.assert_identical(found.load(), made)


@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame")
@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_frames_of_dask(root: MFSFileSystem, reader: dict[str, Any], scheduler: str) -> None:
    url = f"ipfs://{root.root_cid}"
    found = dask.dataframe.read_parquet(f"{url}/parts", storage_options=reader)
    assert found["n"].sum().compute(scheduler=scheduler, num_workers=2) == TABLE["n"].sum()
    if scheduler == "threads":
        found = dask.dataframe.read_csv(f"{url}/table.csv", storage_options=reader, blocksize=50_000)
        assert found.npartitions > 2
        assert found["n"].sum().compute(scheduler=scheduler) == TABLE["n"].sum()


@pytest.mark.filterwarnings("ignore:::(multiprocess|dill|datasets|huggingface_hub)")
def test_datasets_of_hugging_face(root: MFSFileSystem, reader: dict[str, Any], tmp_path: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    url = f"ipfs://{root.root_cid}"
    common = {"storage_options": reader, "cache_dir": str(tmp_path), "split": "train"}
    found = datasets.load_dataset("parquet", data_files=f"{url}/table.parquet", **common)
    assert found["n"][:3] == [0, 1, 2]
    found = datasets.load_dataset("csv", data_files=f"{url}/*.csv", **common)
    assert found.num_rows == 6000
    found = datasets.load_dataset("parquet", data_files=f"{url}/parts/**", streaming=True, **common)
    assert sum(row["n"] for row in found) == TABLE["n"].sum()
