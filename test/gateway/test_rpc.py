"""The daemon's RPC: who may call it, and what it answers to what is malformed."""

import functools
import inspect
import json

import h11
import pytest
import trio

from ipfs_kit_py import NodeConfig, open_node
from ipfs_kit_py.core.errors import ConfigError
from ipfs_kit_py.gateway.rpc import is_loopback, serve_rpc


def with_rpc(test):
    """Run an async test with the address of an RPC of an offline node."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        async def main():
            with trio.fail_after(30):
                async with open_node(NodeConfig(offline=True)) as node, trio.open_nursery() as nursery:
                    address = await nursery.start(serve_rpc, node, "127.0.0.1:0")
                    await test(address, *args, **kwargs)
                    nursery.cancel_scope.cancel()

        trio.run(main)

    del run.__wrapped__  # or the address would be taken for a fixture
    parameters = list(inspect.signature(test).parameters.values())[1:]
    run.__signature__ = inspect.Signature(parameters)
    return run


async def call(address, target, *, method="POST", headers=(), body=b""):
    host, _, port = address.rpartition(":")
    names = {name.lower() for name, _ in headers}
    sent = [*headers, ("Connection", "close"), ("Content-Length", str(len(body)))]
    if "host" not in names:
        sent.append(("Host", address))
    connection = h11.Connection(h11.CLIENT)
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        data = connection.send(h11.Request(method=method, target=f"/api/v0/{target}", headers=sent))
        data += connection.send(h11.Data(data=body)) if body else b""
        await stream.send_all(data + connection.send(h11.EndOfMessage()))
        status, answer = 0, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(65536))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                answer += bytes(event.data)
            else:
                return status, answer


def multipart(*parts):
    out = b""
    for headers, body in parts:
        out += b"--xyz\r\n" + headers + b"\r\n\r\n" + body + b"\r\n"
    return out + b"--xyz--\r\n"


FORM = [("Content-Type", "multipart/form-data; boundary=xyz")]
FILE = b'Content-Disposition: form-data; name="file"; filename="a%20b"\r\nContent-Type: application/octet-stream'


@with_rpc
async def test_only_post_from_this_machine_is_served(address):
    assert (await call(address, "version"))[0] == 200
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        assert (await call(address, "version", method=method))[0] == 405
    for headers in (
        [("Host", "evil.example")],
        [("Host", "evil.example:5001")],
        [("Host", "127.0.0.1.evil.example")],
        [("Origin", "https://evil.example")],
        [("Origin", "null")],
        [("Referer", "https://evil.example/page")],
    ):
        assert (await call(address, "version", headers=headers))[0] == 403, headers
    for headers in ([("Host", "localhost:1")], [("Host", "[::1]:1")], [("Origin", "http://127.0.0.1:8080")]):
        assert (await call(address, "version", headers=headers))[0] == 200, headers


@with_rpc
async def test_a_file_goes_in_and_out(address):
    status, body = await call(address, "add", headers=FORM, body=multipart((FILE, b"hello world")))
    assert status == 200
    assert json.loads(body) == {
        "Name": "a b",
        "Hash": "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
        "Size": "11",
    }
    assert await call(address, f"cat?arg={json.loads(body)['Hash']}") == (200, b"hello world")
    assert await call(address, f"cat?arg={json.loads(body)['Hash']}&offset=6&length=2") == (200, b"wo")


@pytest.mark.parametrize(
    ("target", "headers", "body", "status"),
    [
        ("nope", (), b"", 404),
        ("cat", (), b"", 400),
        ("cat?arg=nonsense", (), b"", 500),
        ("cat?arg=bafkqaaa&offset=x", (), b"", 400),
        ("pin/add?arg=bafkqaaa&recursive=maybe", (), b"", 400),
        ("add", (), b"", 400),
        ("add", FORM, b"", 400),
        ("add", FORM, b"garbage", 400),
        ("add", FORM, b"--xyz\r\n" + FILE + b"\r\n\r\ncut", 400),
        ("add", FORM, multipart((b"X: " + b"y" * 20_000, b"")), 400),
        ("add", FORM, multipart((FILE.replace(b"a%20b", b"..%2Fx"), b"x")), 500),
        ("dag/import", FORM, multipart((FILE, b"no archive")), 500),
        ("block/put?mhtype=md5", FORM, multipart((FILE, b"x")), 500),
        ("cat?arg=bafkqaaa&timeout=soon", (), b"", 400),
        ("cat?arg=bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e", (), b"", 500),
    ],
)
@with_rpc
async def test_what_is_wrong_is_said_and_the_daemon_lives(address, target, headers, body, status):
    found, answer = await call(address, target, headers=headers, body=body)
    assert found == status, answer
    assert json.loads(answer)["Message"]
    assert (await call(address, "version"))[0] == 200


@pytest.mark.parametrize(
    ("authority", "yes"),
    [
        ("127.0.0.1", True), ("127.1.2.3:80", True), ("[::1]:5001", True), ("localhost:1", True), ("0.0.0.0:1", False),
        ("10.0.0.1", False), ("", False), ("localhost.evil.example", False), ("evil.example#@127.0.0.1", False),
    ],
)  # fmt: skip
def test_what_is_loopback(authority, yes):
    assert is_loopback(authority) is yes


def test_the_api_refuses_other_interfaces():
    async def main():
        async with open_node(NodeConfig(offline=True)) as node:
            await serve_rpc(node, "0.0.0.0:0")

    with pytest.raises(ConfigError, match="loopback"):
        trio.run(main)
