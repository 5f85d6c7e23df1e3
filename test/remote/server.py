"""Servers that misbehave on purpose, and one that follows a script; on top of ``test.remote.loopback``.

script = Script({"/a": [stalled, reply_json({"ok": 1})]})      # the last answer of a path stays
async with serving(script) as url: ...
script.requests[0].headers
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from typing import TYPE_CHECKING

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from test.remote.loopback import Cut, Reply, Request, reply_json, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["Cut", "Reply", "Request", "Script", "cut", "reply_json", "serving", "stalled"]


class Script:
    """A handler that gives the next answer of a path: a ``Reply``, or a function of the request that makes one.

    ``requests`` are those that came, in order, with the body where ``bodies`` is set; other paths get 404.
    """

    def __init__(
        self,
        answers: Mapping[str, Sequence[Reply | Callable[[Request], Awaitable[Reply]]]],
        *,
        bodies: bool = False,
    ) -> None:
        self._answers = {path: list(replies) for path, replies in answers.items()}
        self._bodies = bodies
        self.requests: list[Request] = []
        self.received: list[bytes] = []

    async def __call__(self, request: Request) -> Reply:
        self.requests.append(request)
        if self._bodies:
            self.received.append(await request.body())
        left = self._answers.get(request.path)
        if not left:
            return Reply(404, b"nothing here")
        answer = left.pop(0) if len(left) > 1 else left[0]
        return answer if isinstance(answer, Reply) else await answer(request)

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


async def stalled(_request: Request) -> Reply:
    """Never answers."""
    await trio.sleep_forever()
    raise AssertionError("unreachable")


async def cut(_request: Request) -> Reply:
    """Closes the connection without a byte."""
    raise Cut


async def stalling(*parts: bytes) -> AsyncGenerator[bytes, None]:
    """A body that sends this and then nothing more, without an end."""
    for part in parts:
        yield part
    await trio.sleep_forever()


async def cutting(*parts: bytes) -> AsyncGenerator[bytes, None]:
    """A body that sends this, after which the connection closes."""
    for part in parts:
        yield part
    raise Cut


async def endless(part: bytes) -> AsyncGenerator[bytes, None]:
    """A body that has no end, as fast as it is read."""
    while True:
        yield part


async def trickling(part: bytes, seconds: float) -> AsyncGenerator[bytes, None]:
    """A body that has no end, a part at a time (for a clock that jumps)."""
    while True:
        yield part
        await trio.sleep(seconds)


async def chunks(data: bytes, size: int = 65_536) -> AsyncGenerator[bytes, None]:
    """A body in parts of ``size`` bytes."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


def certified(folder: Path, host: str = "127.0.0.1") -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server with a fresh certificate for ``host``, and of a client that trusts it alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cafile=path)
