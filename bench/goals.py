"""What is measured, in which groups, and what each figure should be."""

from __future__ import annotations

from typing import NamedTuple


class Measured(NamedTuple):
    """What a measurement found: the figure of each repetition, and the same as a share of the yardstick's."""

    values: list[float]
    shares: list[float] = []  # noqa: RUF012 - never changed


class Goal(NamedTuple):
    """One figure: its name in JSON, what it is, its unit, its bounds, and what it is a share of."""

    name: str
    what: str
    unit: str
    least: float | None = None
    most: float | None = None
    yardstick: str = ""
    share: float | None = None  # of the yardstick, at least

    def text(self) -> str:
        """The goal in words."""
        parts = []
        if self.least is not None:
            parts.append(f">= {self.least:g} {self.unit}".rstrip())
        if self.most is not None:
            parts.append(f"<= {self.most:g} {self.unit}".rstrip())
        if self.share is not None:
            parts.append(f">= {self.share:g} x {self.yardstick}")
        return ", ".join(parts)

    def met(self, value: float, share: float | None) -> bool | None:
        """Whether a figure is what it should be; ``None`` where it only informs."""
        if self.least is self.most is self.share is None:
            return None
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.share is None or (share is not None and share >= self.share))
        )


LINE, KUBO, HELIA = "the line", "Kubo <- Kubo", "Helia <- Helia"
RAW, FRESH = "the raw disk", "writing zeros there"
HASHING = "SHA-256 alone"
FETCH = "own <- own"

GROUPS: dict[str, list[Goal]] = {
    "own": [
        Goal("line", "the line: sealed, framed, hashed; no node", "MB/s"),
        Goal("line_unhashed", "the same without hashing", "MB/s"),
        Goal("own_from_own", "own <- own", "MB/s", least=400, yardstick=LINE, share=0.5),
        Goal("fetch_rss", "receiver's RssAnon above idle during it", "MiB", most=96),
        Goal("line_cpu", "CPU of the line's receiver", "s/GiB"),
        Goal("fetch_cpu", "CPU of our receiver", "s/GiB"),
        Goal("fetch_loop_cpu", "of it, the thread of the loop", "s/GiB"),
        Goal("serve_cpu", "CPU of our server", "s/GiB"),
        Goal("fresh_memory", "a file of zeros written into fresh memory", "MB/s"),
        Goal("own_from_own_fresh", "own <- own into fresh memory", "MB/s", yardstick=FRESH),
    ],
    "kubo": [
        Goal("kubo_from_kubo", "Kubo 0.43 <- Kubo 0.43", "MB/s"),
        Goal("own_from_kubo", "own <- Kubo 0.43", "MB/s", yardstick=KUBO, share=1),
        Goal("kubo_from_own", "Kubo 0.43 <- own", "MB/s", yardstick=KUBO, share=1),
    ],
    "helia": [
        Goal("helia_from_helia", "Helia 7.1 <- Helia 7.1", "MB/s"),
        Goal("own_beside_helia", "own <- own, in turns with it", "MB/s", yardstick=HELIA, share=3),
    ],
    "share": [
        Goal("share_least", "four fetchers of one server: least to most", "", least=0.8),
        Goal("share_total", "all four together", "MB/s"),
    ],
    "add": [
        Goal("raw_disk", "the raw disk, synced every 16 MiB", "MB/s"),
        Goal("add", "add, kept", "MB/s", least=300, yardstick=RAW),
    ],
    "store": [
        Goal("store_put_kept", "store: put, kept", "MB/s", yardstick=RAW),
        Goal("store_put_fetched", "store: put, fetched", "MB/s"),
        Goal("store_get", "store: get, in the page cache", "MB/s"),
        Goal("store_view", "store: view, in the page cache", "MB/s"),
    ],
    "policy": [
        Goal("policy_best", "policy: hit ratios at or above the best of six others", "%", least=50),
        Goal("policy_gap", "policy: worst hit ratio, points below any of them", "points", most=2),
        Goal("policy_cost", "policy: CPU of one access", "us", most=3),
    ],
    "tiers": [
        Goal("memory_hit", "memory tier: one block of a batch, synchronous face", "us", most=20),
        Goal("disk_first", "disk tier: first views of blocks, hashed", "MB/s", yardstick=HASHING),
        Goal("disk_again", "disk tier: views of blocks verified since it was opened", "MB/s", least=2000),
    ],
    "files": [
        Goal("files_read", "files: own <- own, opened through fsspec and read in order", "MB/s", yardstick=FETCH),
        Goal("files_put", "files: 100,000 small ones put at once", "s"),
        Goal("files_list", "files: a directory of 100,000 listed", "s"),
        Goal("files_ranges", "files: 10,000 ranges of 100 bytes", "s"),
    ],
    "cold": [
        Goal("connect", "connect, both handshakes", "ms", most=15),
        Goal("first_block", "connect and first block of 256 KiB", "ms", most=20),
    ],
    "streams": [Goal("stream", "a stream: open, echo, close; mean of 100", "ms", most=1)],
    "start": [
        Goal("ready", "node ready after process start", "s", most=0.5),
        Goal("idle_rss", "idle RssAnon", "MiB", most=60),
    ],
    "cli": [
        Goal("help", "ipfs-kit --help", "s", most=0.25),
        Goal("only_hash", "ipfs-kit add --only-hash, a small file", "s", most=0.4),
    ],
}
