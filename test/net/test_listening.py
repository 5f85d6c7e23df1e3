from __future__ import annotations

import ipaddress

import trio

from ipfs_kit_py.net.listening import Listening
from ipfs_kit_py.net.transports import TcpTransport


def test_what_is_announced_follows_the_machine_from_network_to_network() -> None:
    faces = [ipaddress.ip_interface("127.0.0.1/8"), ipaddress.ip_interface("10.0.0.7/24")]

    async def scenario() -> None:
        listening = Listening(interfaces=lambda: list(faces))
        await listening.bind(["/ip4/0.0.0.0/tcp/0"], [TcpTransport()])
        port = listening.bound()[0].rsplit("/", 1)[1]
        assert listening.announced() == [f"/ip4/127.0.0.1/tcp/{port}", f"/ip4/10.0.0.7/tcp/{port}"]
        assert not listening.refresh()
        faces[1] = ipaddress.ip_interface("192.168.1.7/24")
        assert listening.refresh()
        assert listening.announced() == [f"/ip4/127.0.0.1/tcp/{port}", f"/ip4/192.168.1.7/tcp/{port}"]
        assert set(listening.announced()) < listening.surroundings().own
        await listening.close()
        assert listening.bound() == []

    trio.run(scenario)


def test_interfaces_that_cannot_be_read_leave_what_was_known() -> None:
    answers: list[object] = [[ipaddress.ip_interface("127.0.0.1/8")]]

    def interfaces() -> list[ipaddress.IPv4Interface]:
        if not answers:
            raise OSError("no permission")
        return answers.pop()  # type: ignore[return-value]

    async def scenario() -> None:
        listening = Listening(interfaces=interfaces)
        await listening.bind(["/ip4/0.0.0.0/tcp/0"], [TcpTransport()])
        before = listening.announced()
        assert not listening.refresh()
        assert listening.announced() == before
        await listening.close()

    trio.run(scenario)
