"""Hashing every block of a store again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.config import STORE_SCAN_BATCH, VERIFY_BATCH_BYTES
from ipfs_kit_py.core.errors import InvalidCID
from ipfs_kit_py.storage.base import Checked, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

    from ipfs_kit_py.storage.blocktable import BlockTable, Txn


def check_block(key: bytes, data: Buffer) -> Problem | None:
    """What is wrong with a block's bytes, ``None`` where they have the hash that its multihash names."""
    try:
        return None if multihash.verify(key, data) else Problem.CORRUPT
    except InvalidCID:
        return Problem.UNKNOWN_HASH


def _check(table: BlockTable, txn: Txn, key: bytes) -> Checked | None:
    size = table.size(txn, key)
    if size is None:
        return None  # deleted since it was listed
    data = table.peek(txn, key)
    if data is None:
        return Checked(key, size, Problem.MISSING)
    problem = check_block(key, data)
    table.verified.judge(key, problem)
    if data.nbytes != size:
        problem = Problem.WRONG_SIZE
    return Checked(key, size, problem)


def verify_table(table: BlockTable) -> Iterator[Checked]:
    """Check all blocks of one environment, in batches of one short snapshot each."""
    after = b""
    while rows := table.scan(after, STORE_SCAN_BATCH):
        after = rows[-1][0]
        while rows:
            count = total = 0
            while count < len(rows) and (not count or total + rows[count][2] <= VERIFY_BATCH_BYTES):
                total += rows[count][2]
                count += 1
            with table.environment.reading() as txn:
                checked = [_check(table, txn, row[0]) for row in rows[:count]]
            rows = rows[count:]
            yield from filter(None, checked)
