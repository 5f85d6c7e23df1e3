"""Read one block of a store in place, under a lease, with the package lmdb alone: see docs/store-format.md.

usage: read_block.py STORE MULTIHASH_HEX [SECONDS]

It finds the block, ends its snapshot, writes "ready SIZE" to standard error, waits for a line or the end of standard
input, and then writes the block from where it lies in the file to standard output. It ends with 1 where the block is
not there, and with 3 where the lease was lost: then what it wrote may be false.
"""

import fcntl
import os
import struct
import sys
import time

import lmdb

HEADER = struct.Struct("=8sQQQ")  # magic, since, until, blocks; then for each its length and its multihash
SETTLE_SECONDS = 0.05
KEPT, FETCHED = 0, 1


def now():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Lease:
    def __init__(self, store, key, seconds):
        self.folder = os.path.join(store, "leases")
        name = os.path.join(self.folder, os.urandom(8).hex())
        self.path = name + ".lease"
        since = now()
        self.until = since + seconds * 1_000_000_000
        data = HEADER.pack(b"IPFSLEA1", since, self.until, 1) + struct.pack("=H", len(key)) + key
        while True:
            self.fd = os.open(name + ".new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self.fd, fcntl.LOCK_SH)
            os.write(self.fd, data)
            try:
                os.rename(name + ".new", self.path)
            except FileNotFoundError:  # a store that was being opened may have removed the draft
                os.close(self.fd)
                continue
            return

    def stamps(self):
        """The numbers of the deletions that may not have seen the lease: of kept and of fetched blocks."""
        try:
            with open(os.path.join(self.folder, "stamps"), "rb") as file:
                return struct.unpack("=QQ", file.read(16))
        except FileNotFoundError:
            return 0, 0

    def lost(self):
        return now() >= self.until or os.fstat(self.fd).st_nlink == 0

    def end(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        os.close(self.fd)


class Environment:
    def __init__(self, path):
        self.env = lmdb.open(path, readonly=True, max_dbs=8)
        self.blocks = self.env.open_db(b"blocks", create=False)
        self.page = self.env.stat()["psize"]

    def begin(self):
        try:
            return self.env.begin(buffers=True)
        except lmdb.MapResizedError:  # the node has made its map larger
            self.env.set_mapsize(0)
            return self.env.begin(buffers=True)


def find(environments, key, stamps):
    """The block, where it stays until the lease ends."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        for which in (KEPT, FETCHED, KEPT):  # kept again: a block that becomes a kept one moves
            environment = environments[which]
            txn = environment.begin()
            block = txn.get(key, db=environment.blocks)
            if block is not None:
                break
            txn.abort()
        else:
            return None
        settled = txn.id() >= stamps[which]  # else a deletion that has not seen the lease has not ended
        if len(block) < environment.page or (not settled and time.monotonic() >= deadline):
            # It lies among others and moves with them, or the deletion lasts.
            block, settled = memoryview(bytes(block)), True
        txn.abort()
        if settled:
            return block
        time.sleep(0.0005)


def main(store, multihash, seconds="30"):
    environments = [Environment(os.path.join(store, name)) for name in ("kept", "fetched")]
    key = bytes.fromhex(multihash)
    lease = Lease(store, key, int(seconds))
    try:
        block = find(environments, key, lease.stamps())
        if block is None:
            return 1
        sys.stderr.write(f"ready {len(block)}\n")
        sys.stderr.flush()
        sys.stdin.buffer.readline()
        sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
        lost = lease.lost()
        return 3 if lost else 0
    finally:
        lease.end()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
