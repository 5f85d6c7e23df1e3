"""What the package logs: below one logger, quiet unless the program that uses it listens.

Events have a name and fields: the message is ``name field=value …`` for people, and the record carries ``event`` and
``fields`` for programs (``logging.Formatter`` of the program's own).
"""

from __future__ import annotations

import logging

PACKAGE = "ipfs_kit_py"

# Without it the interpreter prints warnings of libraries that nobody listens to.
logging.getLogger(PACKAGE).addHandler(logging.NullHandler())


def event(logger: logging.Logger, level: int, name: str, **fields: object) -> None:
    """Log an event."""
    if logger.isEnabledFor(level):
        told = " ".join(f"{key}={value}" for key, value in fields.items())
        logger.log(level, "%s %s", name, told, extra={"event": name, "fields": fields}, stacklevel=2)
