"""Messages between kits when peers send too many, too slowly, or too much."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from ipfs_kit_py.core.config import MESSAGE_READ_SECONDS, MESSAGES_PER_PEER
from ipfs_kit_py.core.errors import StreamClosed
from ipfs_kit_py.net.memory import MemoryNetwork
from ipfs_kit_py.node.messages import MESSAGE, Messages
from test.net.swarms import in_memory, play, running, settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ipfs_kit_py.core.cid import CID
    from ipfs_kit_py.core.interfaces import Stream
    from ipfs_kit_py.net.swarm import Swarm


async def nothing(_cid: CID) -> bool:
    return False


async def same(_peer: str, data: bytes) -> bytes:  # a plain function's thread would not stop the clock
    return data


def between(scenario: Callable[[Swarm, Messages, Swarm, Messages], Awaitable[None]]) -> None:
    async def main() -> None:
        network = MemoryNetwork()
        alice, bob = in_memory(network, "10.0.0.1"), in_memory(network, "10.0.0.2")
        async with running(alice, bob):
            await bob.connect(alice.peer_id, alice.addresses())
            await scenario(alice, Messages(alice, nothing), bob, Messages(bob, nothing))

    play(main)


def test_a_burst_of_messages_is_answered_a_few_at_a_time_and_whole() -> None:
    async def scenario(alice: Swarm, theirs: Messages, _bob: Swarm, ours: Messages) -> None:
        at_once = most = 0
        replies: list[bytes] = []

        async def answer(_peer: str, data: bytes) -> bytes:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await trio.sleep(0.1)
            at_once -= 1
            return data * 2

        async def send(number: int) -> None:
            replies.append(await ours.send(alice.peer_id, b"%d " % number))

        theirs.on_message(answer)
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(send, number)
        assert sorted(replies) == sorted(b"%d %d " % (number, number) for number in range(50))
        assert most == MESSAGES_PER_PEER
        await settle(lambda: not theirs._places_of)

    between(scenario)


def test_messages_that_never_end_give_their_places_to_others() -> None:
    async def scenario(alice: Swarm, theirs: Messages, bob: Swarm, ours: Messages) -> None:
        theirs.on_message(same)
        slow: list[Stream] = []
        start = trio.current_time()
        for _ in range(MESSAGES_PER_PEER):
            stream = await bob.open_stream(alice.peer_id, [MESSAGE])
            await stream.write(b"and")
            slow.append(stream)
        await settle(lambda: theirs._places.borrowed_tokens == MESSAGES_PER_PEER)
        assert await ours.send(alice.peer_id, b"quick") == b"quick"
        assert MESSAGE_READ_SECONDS <= trio.current_time() - start < MESSAGE_READ_SECONDS + 5
        for stream in slow:
            with pytest.raises(StreamClosed):
                await stream.read()

    between(scenario)


def test_one_peer_does_not_take_the_places_of_another() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        alice, bob, carol = (in_memory(network, f"10.0.0.{number}") for number in (1, 2, 3))
        async with running(alice, bob, carol):
            for other in (bob, carol):
                await other.connect(alice.peer_id, alice.addresses())
            theirs = Messages(alice, nothing)
            theirs.on_message(same)
            for _ in range(3 * MESSAGES_PER_PEER):
                stream = await bob.open_stream(alice.peer_id, [MESSAGE])
                await stream.write(b"and")
            await settle(lambda: theirs._places.borrowed_tokens == MESSAGES_PER_PEER)
            start = trio.current_time()
            assert await Messages(carol, nothing).send(alice.peer_id, b"quick") == b"quick"
            assert trio.current_time() - start < 5

    play(main)
