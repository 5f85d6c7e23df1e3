"""The kit's errors as those that Python's own files raise. The kit's error, with its message, is the cause."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from ipfs_kit_py.core import errors
from ipfs_kit_py.core.errors import IPFSKitError
from ipfs_kit_py.verbs.on_daemon import DaemonError

if TYPE_CHECKING:
    from collections.abc import Iterator

# what stays as it is: mistakes of the caller that no file has
_OWN = (errors.ConfigError, errors.NotRunning, errors.NotSupported, errors.InvalidName)
# the first that fits; Python makes FileNotFoundError, TimeoutError and so on of the numbers
_NUMBERS: tuple[tuple[type[IPFSKitError], int], ...] = (
    (errors.NotFound, errno.ENOENT),
    (errors.InvalidCID, errno.ENOENT),  # a path whose root is no CID names nothing
    (errors.TimedOut, errno.ETIMEDOUT),
    (errors.NotAFile, errno.EINVAL),
    (errors.QuotaExceeded, errno.ENOSPC),
    (errors.TooLarge, errno.EFBIG),
    (IPFSKitError, errno.EIO),
)


def kind_of(error: IPFSKitError) -> type[IPFSKitError]:
    """The class of an error, also of one that a daemon told of."""
    told = getattr(errors, error.kind, None) if isinstance(error, DaemonError) else None
    return told if isinstance(told, type) and issubclass(told, IPFSKitError) else type(error)


def as_python(error: IPFSKitError, path: str) -> Exception:
    """What to raise for an error that happened to ``path``."""
    kind = kind_of(error)
    if issubclass(kind, _OWN):
        return error
    number = next(number for known, number in _NUMBERS if issubclass(kind, known))
    return OSError(number, str(error), path)


@contextmanager
def mapped(path: str) -> Iterator[None]:
    """Errors of the kit within are raised as Python's own."""
    try:
        yield
    except IPFSKitError as error:
        give(as_python(error, path), error)


def give(found: Exception, error: IPFSKitError) -> NoReturn:
    """Raise what an error of the kit is to others, with it as the cause."""
    if found is error:
        raise error
    raise found from error


def is_directory(path: str) -> IsADirectoryError:
    """What to raise where a file was expected."""
    return IsADirectoryError(errno.EISDIR, "this is a directory, not a file", path)


def missing(path: str) -> FileNotFoundError:
    """What to raise where there is nothing."""
    return FileNotFoundError(errno.ENOENT, "there is nothing of this name", path)
