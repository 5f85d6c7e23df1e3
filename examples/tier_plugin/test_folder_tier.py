"""All that a plug-in's author has to write to test it: the conformance suite runs on the tier."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ipfs_kit_folder_tier import FolderTier

from ipfs_kit_py.storage.remote import conformance

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("check", conformance.CHECKS, ids=str)
def test_conforms(check: conformance.Check, tmp_path: Path) -> None:
    assert conformance.run(check, lambda: FolderTier(tmp_path))
