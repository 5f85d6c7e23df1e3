"""A worker process: reads segments of payload from its standard input, writes their roots to its standard output.

A segment is its length as four bytes, big endian, and its bytes; a root has 32 bytes. It ends where its input does.
"""

from __future__ import annotations

import sys

from ipfs_kit_py.storage.remote.filecoin import fr32


def main() -> None:
    """Serve until the input ends."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while len(head := source.read(4)) == 4:
        size = int.from_bytes(head, "big")
        segment = source.read(size)
        if len(segment) < size:
            return
        sink.write(fr32.root_of(segment)[0])
        sink.flush()


if __name__ == "__main__":
    main()
