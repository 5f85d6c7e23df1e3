"""What the command line prints, and how it fails: one line that says what, on what, and what to do."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ipfs_kit_py.core.errors import IPFSKitError
from ipfs_kit_py.core.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator


class Outcome:
    """The exit code of a command."""

    code = 0


@contextmanager
def failing() -> Iterator[Outcome]:
    """Turn the errors that a user can meet into one line and exit code 1; others are bugs and come through."""
    outcome = Outcome()
    try:
        yield outcome
    except IPFSKitError as error:
        outcome.code = complain(str(error))
    except BrokenPipeError:
        _mute()
        outcome.code = 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        outcome.code = complain(f"{where}{error.strerror or error}")


def complain(message: str) -> int:
    """Print one line on standard error; returns exit code 1."""
    text = printable(" ".join(message.split()))
    sys.stderr.write(f"Error: {text}\n")
    return 1


def say(line: str) -> None:
    """Print one line on standard output; the caller has made names from strangers printable."""
    sys.stdout.write(line + "\n")


def _mute() -> None:
    """Standard output's reader has gone: let the interpreter's last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
