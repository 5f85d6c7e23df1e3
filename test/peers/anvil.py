"""anvil: a real Ethereum node in one process, with a chain of its own and accounts that have funds."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Self

from test.peers.process import STOP_SECONDS, PeerFailed

if TYPE_CHECKING:
    from pathlib import Path

_GUARDED = '"$@" & exec >&-; cat >/dev/null; kill $!; wait $!'  # it ends with our end of the pipe


class Anvil:
    """One node on a free port of loopback; ``url`` is its JSON-RPC."""

    def __init__(self, binary: Path, chain: int = 314) -> None:
        argv = [binary, "--host", "127.0.0.1", "--port", "0", "--chain-id", str(chain)]
        self._process = subprocess.Popen(
            ["sh", "-c", _GUARDED, "sh", *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("Listening on "):
                self.url = f"http://{line.split()[2]}"
                return
        self.close()
        raise PeerFailed("anvil did not start")

    def close(self) -> None:
        """End the node."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
