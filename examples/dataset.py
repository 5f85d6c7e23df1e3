"""A dataset over IPFS: one node publishes partitioned Parquet, another reads what it needs with pandas and pyarrow.

Needs ``pip install pandas pyarrow``. Both nodes are in this process; between machines it is the same, with an address.
"""

from __future__ import annotations

import io

import pandas
import pyarrow.dataset
import pyarrow.fs

from ipfs_kit_py.ipfs_kit import ipfs_kit


def publish(kit: ipfs_kit) -> str:
    """Write a table to a tree of files that can be changed, and return the CID of what it is now."""
    table = pandas.DataFrame(
        {"year": [2023, 2023, 2024, 2025], "city": ["Bern", "Graz", "Bern", "Linz"], "n": [3, 1, 4, 1]}
    )
    fs = kit.get_filesystem(writable=True)
    for year, part in table.groupby("year"):
        file = io.BytesIO()
        part.drop(columns="year").to_parquet(file, index=False)
        fs.pipe(f"/visits/year={year}/part.parquet", file.getvalue())
    return str(fs.ukey("/visits"))


def main() -> None:
    """Publish, then read from another node."""
    with ipfs_kit({"repo": None, "libp2p": True}) as author, ipfs_kit({"repo": None, "libp2p": True}) as reader:
        root = publish(author)
        print(f"published {root}")
        reader.ipfs_swarm_connect(author.ipfs_id()["Addresses"][0])
        fs = reader.get_filesystem()

        with fs.open(f"{root}/year=2024/part.parquet") as file:
            print(f"pandas reads one file: {pandas.read_parquet(file).to_dict('records')}")

        dataset = pyarrow.dataset.dataset(
            root,
            format="parquet",
            partitioning="hive",
            filesystem=pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs)),
        )
        found = dataset.to_table(filter=pyarrow.dataset.field("year") >= 2024).to_pandas()
        print(f"pyarrow reads two of three partitions: {found['n'].sum()} visits since 2024")
        print(f"fetched over libp2p: {reader.libp2p_integration.get_stats()['total_bytes_retrieved']:,} bytes")


if __name__ == "__main__":
    main()
