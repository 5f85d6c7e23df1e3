"""An open file for reading: one version of its content, of which only the ranges are fetched that are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsspec.caching import BaseCache, register_cache
from fsspec.spec import AbstractBufferedFile

if TYPE_CHECKING:
    from collections.abc import Callable

AHEAD_LEAST = 128 << 10  # bytes that the second of two reads in a row reads ahead; each further one twice as many


class AheadCache(BaseCache):
    """What was fetched last, and more of it where it is read in order.

    A read somewhere else fetches what it asks for and nothing else; reads in a row read ahead, at first
    ``AHEAD_LEAST`` bytes and up to ``blocksize``.
    """

    name = "ahead"

    def __init__(self, blocksize: int, fetcher: Callable[[int, int], bytes], size: int) -> None:
        super().__init__(blocksize, fetcher, size)
        self._data = b""
        self._start = 0
        self._ahead = 0

    def _fetch(self, start: int | None, stop: int | None) -> bytes:
        begin = start or 0
        end = self.size if stop is None else min(stop, self.size)
        if begin >= end:
            return b""
        held = self._start + len(self._data)
        if self._start <= begin and end <= held:
            self.hit_count += 1
            return self._data[begin - self._start : end - self._start]
        self.miss_count += 1
        in_order = self._start <= begin <= held and bool(self._data)
        self._ahead = min(max(2 * self._ahead, AHEAD_LEAST), self.blocksize) if in_order else 0
        rest = self._data[begin - self._start :] if in_order else b""
        fetch_from, fetch_to = begin + len(rest), min(max(end, begin + self._ahead), self.size)
        self.total_requested_bytes += fetch_to - fetch_from
        fresh = self.fetcher(fetch_from, fetch_to)
        self._data, self._start = (rest + fresh if rest else fresh), begin
        return self._data if end == fetch_to else self._data[: end - begin]


register_cache(AheadCache, clobber=True)


class ContentFile(AbstractBufferedFile):
    """A file of the filesystem, opened for reading. What its path points to later does not change it."""

    def __init__(self, fs: Any, path: str, details: dict[str, Any], **options: Any) -> None:
        self._details = details
        options.setdefault("cache_type", AheadCache.name)
        options.setdefault("size", details["size"])
        super().__init__(fs, path, "rb", **options)

    def _fetch_range(self, start: int, end: int) -> bytes:
        content: bytes = self.fs.read_content(self.path, self.details["CID"], start, end)
        return content

    def __reduce__(self) -> Any:
        return _reopened, (self.fs, self.path, self.details, self.blocksize, self.loc)


def _reopened(fs: Any, path: str, details: dict[str, Any], block_size: int, at: int) -> ContentFile:
    file = ContentFile(fs, path, details, block_size=block_size)
    file.seek(at)
    return file
