"""A line with the latency of a network: TCP on loopback whose bytes arrive some time after they were sent."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time

_READ = 1 << 18


def _carry(source: socket.socket, target: socket.socket, latency: float) -> None:
    """Bytes one way, each piece ``latency`` seconds late, until the source ends."""
    pieces: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def deliver() -> None:
        with contextlib.suppress(OSError):  # the target went away: nobody is left to tell
            while True:
                due, data = pieces.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)

    threading.Thread(target=deliver, daemon=True).start()
    data = b"before the first"
    while data:
        try:
            data = source.recv(_READ)
        except OSError:
            data = b""
        pieces.put((time.monotonic() + latency, data))


def far(address: tuple[str, int], latency: float) -> tuple[str, int]:
    """Where a TCP server can be dialled as if from ``latency`` seconds away, for as long as this process lives."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            near, _ = listener.accept()
            end = socket.create_connection(address)
            for source, target in ((near, end), (end, near)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=_carry, args=(source, target, latency), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[:2]
