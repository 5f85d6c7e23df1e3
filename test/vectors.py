"""Test data of others that may lie beside the checkout. It is not the project's, so its tests may be absent with it."""

from __future__ import annotations

from pathlib import Path

import pytest

VECTORS = Path(__file__).parents[2] / "shared" / "vectors"
ABSENT = "the shared test vectors are not beside the checkout"
needs_vectors = pytest.mark.skipif(not VECTORS.is_dir(), reason=ABSENT)
