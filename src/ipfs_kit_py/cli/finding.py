"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True)
class Finding:
    """``name`` of what was looked at, ``state`` (ok, warning, problem), what was found, and what to do, if anything."""

    name: str
    state: str
    text: str
    advice: str = ""
