from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.config import IDENTIFY_MESSAGE_BYTES, IDENTIFY_PUSH_DELAY_SECONDS
from ipfs_kit_py.crypto.envelope import open_peer_record
from ipfs_kit_py.crypto.keys import PublicKey
from ipfs_kit_py.net.addresses import from_bytes
from ipfs_kit_py.net.dial_plan import Provenance
from ipfs_kit_py.net.identify import IDENTIFY, IDENTIFY_PUSH, Identity, decode, encode
from ipfs_kit_py.net.memory import MemoryNetwork
from test.net.swarms import Stranger, echo, in_memory, play, running, settle

if TYPE_CHECKING:
    from ipfs_kit_py.core.interfaces import Stream

ONE, TWO = "10.0.0.1", "10.0.0.2"


async def read_identity(stream: Stream) -> Identity:
    messages = []
    while (message := await stream.read_message(IDENTIFY_MESSAGE_BYTES)) is not None:
        messages.append(message)
    return decode(messages)


def test_both_sides_of_a_new_connection_learn_who_the_other_is() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, other = in_memory(network, ONE, agent="one/1"), in_memory(network, TWO)
        other.set_handler("/echo/1", echo)
        async with running(one, other):
            await one.connect(other.peer_id, other.addresses())
            await settle(lambda: one.identity(other.peer_id) is not None and other.identity(one.peer_id) is not None)
            assert "/echo/1" in one.protocols_of(other.peer_id)
            them = other.identity(one.peer_id)
            assert them is not None
            assert them.agent == "one/1"
            assert them.addresses == tuple(one.addresses())
            assert PublicKey.decode(them.public_key).peer_id() == one.peer_id
            assert [(row.text, row.provenance) for row in other.addresses_of(one.peer_id)] == [
                (one.addresses()[0], Provenance.SIGNED)
            ]
            assert one.observed_addresses() == {one.connections()[0].local_address: 1}
            await one.disconnect(other.peer_id)
            await settle(lambda: not one.connected())
            assert one.identity(other.peer_id) is None
            assert "/echo/1" in one.protocols_of(other.peer_id)

    play(scenario)


def test_the_record_that_we_send_is_signed_and_says_the_same() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, stranger = in_memory(network, ONE), Stranger(network, TWO)
        async with running(one), trio.open_nursery() as nursery:
            connection = await stranger.connect(one.addresses()[0], nursery)
            told = await read_identity(await connection.open_stream([IDENTIFY]))
            record = open_peer_record(told.signed_record, signer=one.peer_id)
            assert [from_bytes(raw).text for raw in record.addresses] == list(told.addresses) == one.addresses()
            assert told.observed == connection.local_address
            assert {IDENTIFY, IDENTIFY_PUSH, "/ipfs/ping/1.0.0"} <= told.protocols
            await connection.close()

    play(scenario)


def test_changes_are_pushed_together_and_understood() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, other, stranger = in_memory(network, ONE), in_memory(network, TWO), Stranger(network, "10.0.0.3")
        pushes: list[Identity] = []

        async def answer(stream: Stream) -> None:
            for message in encode(Identity(protocols=frozenset({IDENTIFY, IDENTIFY_PUSH}))):
                await stream.write_message(message)
            await stream.close()

        async def take(stream: Stream) -> None:
            pushes.append(await read_identity(stream))

        stranger.handlers |= {IDENTIFY: answer, IDENTIFY_PUSH: take}
        async with running(one, other), trio.open_nursery() as nursery:
            await one.connect(other.peer_id, other.addresses())
            connection = await stranger.connect(one.addresses()[0], nursery)
            await settle(lambda: len(one.protocols_of(stranger.peer_id)) == 2 and bool(other.protocols_of(one.peer_id)))
            for number in range(10):
                one.set_handler(f"/many/{number}", echo)
            await trio.sleep(2 * IDENTIFY_PUSH_DELAY_SECONDS)
            assert len(pushes) == 1
            many = {f"/many/{number}" for number in range(10)}
            assert many < pushes[0].protocols
            assert many < other.protocols_of(one.peer_id)
            one.remove_handler("/many/0")
            one.set_handler("/many/1", echo)
            await trio.sleep(2 * IDENTIFY_PUSH_DELAY_SECONDS)
            assert len(pushes) == 2
            assert "/many/0" not in other.protocols_of(one.peer_id)
            one.set_handler("/many/1", echo)
            await trio.sleep(2 * IDENTIFY_PUSH_DELAY_SECONDS)
            assert len(pushes) == 2
            await connection.close()

    play(scenario)


def test_a_push_that_names_only_protocols_keeps_the_rest() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, stranger = in_memory(network, ONE), Stranger(network, TWO)

        async def answer(stream: Stream) -> None:
            for message in encode(Identity(agent="stranger/1", protocols=frozenset({"/a"}))):
                await stream.write_message(message)
            await stream.close()

        stranger.handlers[IDENTIFY] = answer
        async with running(one), trio.open_nursery() as nursery:
            connection = await stranger.connect(one.addresses()[0], nursery)
            await settle(lambda: one.identity(stranger.peer_id) is not None)
            stream = await connection.open_stream([IDENTIFY_PUSH])
            await stream.write_message(encode(Identity(protocols=frozenset({"/b"})))[0])
            await stream.close()
            await settle(lambda: one.protocols_of(stranger.peer_id) == {"/b"})
            found = one.identity(stranger.peer_id)
            assert found is not None
            assert found.agent == "stranger/1"
            await connection.close()

    play(scenario)


def test_addresses_are_told_only_to_peers_that_could_use_them() -> None:
    async def scenario() -> None:
        announced = ("/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip4/8.8.4.4/tcp/1")
        for ip, expected in (("127.0.0.1", announced), ("10.0.0.7", announced[1:]), ("8.8.8.8", announced[2:])):
            network = MemoryNetwork()
            one, stranger = in_memory(network, ONE, announce=announced), Stranger(network, ip)
            async with running(one), trio.open_nursery() as nursery:
                connection = await stranger.connect(f"/ip4/{ONE}/tcp/4001", nursery)
                told = await read_identity(await connection.open_stream([IDENTIFY]))
                assert told.addresses == expected
                await connection.close()

    play(scenario)


def test_identify_holds_no_stream_up() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, stranger = in_memory(network, ONE), Stranger(network, TWO)

        async def silent(_stream: Stream) -> None:
            await trio.sleep_forever()

        stranger.handlers |= {IDENTIFY: silent, "/echo/1": echo}
        async with running(one), trio.open_nursery() as nursery:
            connection = await stranger.connect(one.addresses()[0], nursery)
            await settle(lambda: len(one.connected()) == 1)
            stream = await one.open_stream(stranger.peer_id, ["/echo/1"])
            await stream.write(b"at once")
            await stream.close_write()
            assert await stream.read() == b"at once"
            assert trio.current_time() < 1
            await trio.sleep(60)
            assert one.statistics().connections == 1
            await connection.close()

    play(scenario)
