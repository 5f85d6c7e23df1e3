"""What is known of an upload: its root, the archives that hold it, where they are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.errors import ConfigError
from ipfs_kit_py.storage.remote.storacha.blob import Site
from ipfs_kit_py.storage.remote.storacha.ucan import CAR_CODEC


@dataclass(frozen=True)
class Blob:
    """A blob by its multihash. ``size`` in bytes and ``site`` are ``None`` where they are not known."""

    digest: bytes
    size: int | None = None
    site: Site | None = None

    @property
    def cid(self) -> CID:
        """The name that the service gives an archive."""
        return CID(1, CAR_CODEC, self.digest)


@dataclass(frozen=True)
class Upload:
    """A DAG in a space: the archives that hold it, and the one with their index where it is known."""

    root: CID
    shards: tuple[Blob, ...]
    index: Blob | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a file."""
        parts = [*self.shards, *([self.index] if self.index else [])]
        rows = [
            {
                "cid": str(blob.cid),
                "size": blob.size,
                "site": None if blob.site is None else asdict(blob.site),
            }
            for blob in parts
        ]
        return {"root": str(self.root), "shards": rows[: len(self.shards)], "index": rows[len(self.shards) :]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Upload:
        """What ``to_json`` gave; ``ConfigError`` for anything else."""
        try:
            shards, index = ([_blob(row) for row in value[name]] for name in ("shards", "index"))
            return cls(CID.parse(value["root"]), tuple(shards), index[0] if index else None)
        except (KeyError, TypeError, ValueError):
            raise ConfigError("what is remembered of an upload is malformed") from None


def _blob(row: dict[str, Any]) -> Blob:
    site = row["site"]
    if site is not None:
        site = Site(**{**site, "urls": tuple(site["urls"])})
    return Blob(CID.parse(row["cid"]).multihash, row["size"], site)
