"""Open files for writing: sent as they are written, to appear when they are closed; or kept until all of a transaction
appear together."""

from __future__ import annotations

import io
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsspec.spec import AbstractBufferedFile
from fsspec.transaction import Transaction

from ipfs_kit_py._backend import sent_bytes
from ipfs_kit_py._fs.failures import give
from ipfs_kit_py.content.files import Entry, read_file
from ipfs_kit_py.core.errors import IPFSKitError

if TYPE_CHECKING:
    from ipfs_kit_py._backend import Sending

WRITE = "files/write"


class SentFile(AbstractBufferedFile):
    """A file that is sent while it is written, and replaces what was there when it is closed. Where its ``with`` is
    left by an exception, or it is never closed, what was there stays."""

    def __init__(self, fs: Any, path: str, mode: str, size: int, **options: Any) -> None:
        super().__init__(fs, path, mode, **options)
        self.loc = self._at = size if mode == "ab" else 0
        self._sending: Sending | None = None

    def _how(self) -> dict[str, Any]:
        whole = self.mode != "ab"
        return {"create": True, "truncate": whole, "parents": True, "offset": None if whole else self._at}

    def _upload_chunk(self, final: bool = False) -> bool:
        data = self.buffer.getbuffer()  # the buffer is never written to again
        backend, stall = self.fs.opened.backend, self.fs.timeout
        try:
            if self._sending is None and final:
                backend.rows(WRITE, self.path, uploads=[sent_bytes(data)], stall=stall, **self._how())
                return True
            if self._sending is None:
                self._sending = backend.send(WRITE, self.path, stall=stall, **self._how())
            if data.nbytes:
                self._sending.write(data)
            if final:
                self._sending.finish()
        except IPFSKitError as error:
            give(self.fs.refusal(self.path, error), error)
        return True

    def discard(self) -> None:
        """Leave what was there as it is."""
        self.closed = True
        if self._sending is not None:
            self._sending.cancel()

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        if not self.closed:  # on any thread, the loop's too, where nothing may wait
            warnings.warn(f"{self.path} was never closed; it is not written", ResourceWarning, stacklevel=2)
            self.discard()


class DeferredFile(io.BufferedRandom):
    """A file of a transaction, on this machine's disk until the transaction ends."""

    def __init__(self, path: str) -> None:
        handle, name = tempfile.mkstemp(prefix="ipfs-kit-")
        super().__init__(io.FileIO(handle, "w+b"))
        self.path = path
        self.kept = Path(name)

    def entry(self) -> Entry:
        """The file as it is sent."""
        return Entry(self.path, "file", chunks=lambda: read_file(self.kept))

    def discard(self) -> None:
        """Forget it."""
        self.close()
        self.kept.unlink(missing_ok=True)


class Together(Transaction):
    """All files that are written within appear at once, in one new version of the root; or none, after an exception."""

    def complete(self, commit: bool = True) -> None:
        """End it: what was written is sent, or forgotten."""
        files, fs = list(self.files), self.fs
        try:
            if commit and files:
                for file in files:
                    file.close()
                fs.send_batch([file.entry() for file in files])
        finally:
            super().complete(commit=False)
