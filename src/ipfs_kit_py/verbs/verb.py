"""What a verb of the RPC is, and what it answers with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ipfs_kit_py.verbs.call import Call

JSON, ROWS, BYTES = "json", "rows", "bytes"


@dataclass(frozen=True)
class Verb:
    """A verb's function and what it answers with: one JSON object, a row after another, or bytes."""

    run: Callable[[Call], Awaitable[None]]
    answers: str
    uploads: bool = False
