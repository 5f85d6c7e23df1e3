"""IPFS as a filesystem of fsspec, and so of pandas, pyarrow, dask, zarr, xarray and datasets.

fsspec.open("ipfs://CID/name")                  content, read-only, straight from peers
fsspec.filesystem("mfs").pipe("/a", b"…")       the writable root of a repo (MFS), every version of which has a CID
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, NoReturn, Self

from fsspec.utils import stringify_path

from ipfs_kit_py._fs import paths
from ipfs_kit_py._fs.listings import MAX_PATHS, Listings
from ipfs_kit_py._fs.opening import DEFAULT, Opened, Options, plain
from ipfs_kit_py._fs.reading import Reading
from ipfs_kit_py._fs.writing import Writing
from ipfs_kit_py.core.errors import ConfigError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from ipfs_kit_py._backend import Backend

READ_AHEAD_BYTES = 4 << 20  # of a file that is read in order
WRITE_BYTES = 4 << 20  # of a file that is written, gathered before they are sent
TIMEOUT_SECONDS = 60.0  # that nothing may come
_FSSPECS_OWN = {"use_listings_cache", "listings_expiry_time", "asynchronous", "loop", "batch_size", "auto_mkdir"}


class IPFSFileSystem(Reading):
    """Content of IPFS as files, from this machine's store, from peers, and from the tiers that are configured.

    Paths are ``ipfs://CID/a``, ``ipns://NAME/a``, ``/ipfs/CID/a`` or ``CID/a``; names in them are literal. It works on
    the daemon of the repo where one runs, else on a node of this process, which listens nowhere and is opened when it
    is first needed; filesystems with equal options share it.

    - ``repo``: the folder of the node, the default one if it is not given. ``memory=True``: none at all; ``None`` and
      ``":memory:"`` for ``repo`` say the same.
    - ``peers``: multiaddrs with ``/p2p/<id>``, dialled at once. ``bootstrap``: likewise, where others are heard of.
    - ``role``, ``tiers`` (tables as in ``[[tiers]]`` of config.toml, docs/tiers.md), ``gateways`` (URLs; a tier that is
      the gateway of these), ``offline``: what a node of this process is given; with any of them no daemon is used.
    - ``daemon=False``: never use one.
    - ``timeout``: seconds for which nothing may come, ``None`` for no limit. Not a limit on the whole of a transfer.
    - ``read_ahead``: bytes that an open file reads ahead at most, where it is read in order. ``block_size``: the same,
      and what is gathered of a file that is written.
    - ``max_paths``: directories, and single paths, of immutable content that are remembered; 0 for none.
    - ``writable``: gives an ``MFSFileSystem`` instead.

    All options are plain values, and all that a pickle has: another process opens a node of its own, which dials
    ``peers``. ``ConfigError`` for those that cannot be. Reading raises Python's own errors (``FileNotFoundError``,
    ``IsADirectoryError``, ``TimeoutError``, else ``OSError``) with the kit's as their cause, writing
    ``PermissionError``.
    """

    protocol: Any = ("ipfs", "ipns")
    root_marker = ""

    def __new__(cls, *_args: Any, writable: bool = False, **_options: Any) -> Self:
        """A filesystem of the view that is asked for."""
        wanted: Any = MFSFileSystem if writable and cls is IPFSFileSystem else cls
        made: Self = super().__new__(wanted)
        return made

    def __init__(
        self,
        repo: str | os.PathLike[str] | None = DEFAULT,
        *,
        memory: bool = False,
        role: str | None = None,
        peers: Sequence[str] = (),
        bootstrap: Sequence[str] = (),
        tiers: Sequence[Mapping[str, Any]] = (),
        gateways: Sequence[str] = (),
        offline: bool = False,
        daemon: bool = True,
        timeout: float | None = TIMEOUT_SECONDS,
        read_ahead: int | None = None,
        block_size: int | None = None,
        max_paths: int | None = None,
        writable: bool = False,
        **storage_options: Any,
    ) -> None:
        if self._cached:
            return
        unknown = sorted(set(storage_options) - _FSSPECS_OWN)
        if unknown:
            raise ConfigError(f"IPFSFileSystem has no option {unknown[0]!r}; its docstring names those that it has")
        for name, size in (("read_ahead", read_ahead), ("block_size", block_size)):
            if size is not None and (not isinstance(size, int) or size <= 0):
                raise ConfigError(f"{name} is a number of bytes above 0, not {size!r}")
        super().__init__(**storage_options)
        self.opened = Opened(
            Options.of(
                None if memory else repo, role, peers, bootstrap, tiers, gateways, offline=offline, daemon=daemon
            )
        )
        self._listings = Listings(
            (MAX_PATHS if max_paths is None else max_paths) if storage_options.get("use_listings_cache", True) else 0
        )
        self.timeout = timeout
        self.read_ahead = read_ahead or block_size or READ_AHEAD_BYTES
        self.blocksize = block_size or WRITE_BYTES

    @classmethod
    def on_backend(cls, backend: Backend, **options: Any) -> Self:
        """A filesystem on a backend that somebody else closes; ``options`` are those of a filesystem, for another
        process that it is sent to (its node dials ``peers``)."""
        made: Self = cls(**options, skip_instance_cache=True)
        made.opened.give(backend)
        return made

    @property
    def storage_options(self) -> dict[str, Any]:
        """The options that it was made with, as values that JSON has."""
        return self._told

    @storage_options.setter
    def storage_options(self, given: dict[str, Any]) -> None:
        self._told = plain(given)

    # --- paths --------------------------------------------------------------------------------------------------------

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """Paths of content without their protocol: ``CID/a``, ``/ipns/NAME/a``."""
        return cls._stripped(path, paths.of_content)

    @classmethod
    def _stripped(cls, path: Any, strip: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        return strip(stringify_path(path))

    def unstrip_protocol(self, name: str) -> str:
        """A path with its protocol: ``ipfs://``, ``ipns://`` or ``mfs://``."""
        return paths.url(self._absolute(self._strip_protocol(name)))

    # --- what a view of content refuses -------------------------------------------------------------------------------

    def _refuse(self, path: Any) -> NoReturn:
        raise PermissionError(
            errno.EACCES, "content does not change; a filesystem made with writable=True has a root to write to", path
        )

    def _open_to_write(self, path: str, mode: str, block_size: int | None, autocommit: bool) -> Any:
        self._refuse(path)

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        """``PermissionError``, as all that writes."""
        self._refuse(path)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """``PermissionError``."""
        self._refuse(path)

    def rmdir(self, path: str) -> None:
        """``PermissionError``."""
        self._refuse(path)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """``PermissionError``."""
        self._refuse(path)

    def rm_file(self, path: str) -> None:
        """``PermissionError``."""
        self._refuse(path)

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        """``PermissionError``."""
        self._refuse(path2)

    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any) -> None:
        """``PermissionError``."""
        self._refuse(path1)

    def pipe_file(self, path: str, value: Any, mode: str = "overwrite", **kwargs: Any) -> None:
        """``PermissionError``."""
        self._refuse(path)

    def put_file(self, lpath: Any, rpath: str, callback: Any = None, mode: str = "overwrite", **kwargs: Any) -> None:
        """``PermissionError``."""
        self._refuse(rpath)

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        """``PermissionError``."""
        self._refuse(path)


class MFSFileSystem(Writing, IPFSFileSystem):
    """The writable view: paths ``/a/b`` lie in the root of the repo's node (its MFS), each version of which has a CID.

    ``/ipfs/CID/a``, ``ipfs://CID/a`` and names are read as in ``IPFSFileSystem``, whose options it has. A change is
    made whole or not at all; a file that is written appears when it is closed.
    """

    protocol: Any = "mfs"
    root_marker = "/"

    def __init__(self, repo: str | os.PathLike[str] | None = DEFAULT, *, writable: bool = True, **options: Any) -> None:
        if not writable:
            raise ConfigError("mfs is the writable view; IPFSFileSystem is the other")
        super().__init__(repo, writable=True, **options)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """Paths of the root without their protocol, ``/a``, and of content, ``/ipfs/CID/a``."""
        return cls._stripped(path, paths.of_root)
