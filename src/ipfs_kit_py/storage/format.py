"""The version of a store's layout, in the file ``format`` of its folder: see docs/store-format.md."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from ipfs_kit_py.core.errors import StorageError
from ipfs_kit_py.storage.unclean import sync_folder

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "format"
VERSION: Final = 1  # raised when a reader of the version before would misread what is there
_MOST_BYTES = 16


def check_format(folder: Path) -> None:
    """Before anything in a store is touched; a store without a version is of the first, and gets it written down.
    ``StorageError`` where it is of another one. The caller holds the store's opening lock."""
    path = folder / NAME
    try:
        with path.open("rb") as file:
            found = file.read(_MOST_BYTES).strip()
    except FileNotFoundError:
        return _write(path)
    if not found.isdigit() or int(found) == 0:
        raise StorageError(f"{path} holds {found!r} and no version: move it away if the store is one of this package")
    if int(found) > VERSION:
        raise StorageError(
            f"the block store {folder} has format {int(found)}, and this version of IPFS Kit reads up to {VERSION}: "
            "upgrade the package, or choose another folder"
        )


def _write(path: Path) -> None:
    """Whole or not at all."""
    draft = path.with_suffix(".new")
    with draft.open("w") as file:
        file.write(f"{VERSION}\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)
