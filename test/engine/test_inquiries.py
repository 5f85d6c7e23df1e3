"""Whether a peer has a block can be asked without wanting it, and a want of it is none the worse."""

from __future__ import annotations

import random

from ipfs_kit_py.bitswap.session import Wants
from ipfs_kit_py.bitswap.wants import FindProviders, Penalise, Send
from ipfs_kit_py.core.cid import CID, DAG_PB, RAW, PeerID
from ipfs_kit_py.core.config import CONNECTED_PEERS, INQUIRIES

HASH = CID.of(b"block").multihash
CID_ = CID(1, RAW, HASH)


def peer(number: int) -> PeerID:
    return PeerID(b"\x00\x24" + number.to_bytes(36, "big"))


class Asker:
    """The engine, and what it says."""

    def __init__(self, *peers: int, **options) -> None:
        self.wants = Wants(random.Random(1))
        self.heard = 0
        for number in peers:
            self.wants.on_peer_connected(peer(number), 0.0, **options)
            self.wants.always_ask(peer(number), 0.0)

    def listen(self) -> None:
        self.heard += 1

    def ask(self):
        return self.wants.inquiries.ask(HASH, self.listen, 0.0)

    def said(self, now: float = 0.0):
        """What goes out: (peer, cid, kind)."""
        out = []
        while (action := self.wants.next_action(now)) is not None:
            if isinstance(action, Send):
                entries, _full = self.wants.take(action.peer)
                for entry in entries:
                    kind = "cancel" if entry.cancel else "have" if entry.want_have else "block"
                    out.append((action.peer, entry.cid, kind))
            else:
                out.append(action)
        return out


def test_a_question_goes_out_and_what_comes_back_is_the_answer():
    asker = Asker(1, 2, 3)
    inquiry = asker.ask()
    assert sorted(asker.said()) == sorted((peer(number), CID_, "have") for number in (1, 2, 3))
    asker.wants.on_presences(peer(2), [CID_], [], 1.0)
    asker.wants.on_presences(peer(1), [], [CID_], 1.0)
    assert list(inquiry.have) == [peer(2)]
    assert inquiry.waiting == {peer(3)}
    assert asker.heard == 2
    asker.wants.on_peer_disconnected(peer(3), 1.0)
    assert not inquiry.waiting
    assert asker.heard == 3
    asker.wants.inquiries.end(inquiry, asker.listen)
    assert sorted(asker.said()) == sorted((peer(number), CID_, "cancel") for number in (1, 2))
    assert len(asker.wants.inquiries) == 0


def test_an_answer_that_was_not_asked_for_counts_nothing():
    asker = Asker(1)
    inquiry = asker.ask()
    asker.wants.on_peer_connected(peer(2), 0.0)
    asker.wants.on_presences(peer(2), [CID_], [], 1.0)
    asker.wants.on_presences(peer(1), [CID_], [], 1.0)
    asker.wants.on_presences(peer(1), [], [CID_], 1.0)
    assert list(inquiry.have) == [peer(1)]


def test_a_small_block_at_once_is_an_answer_and_no_offence():
    asker = Asker(1, 2)
    inquiry = asker.ask()
    asker.said()
    asker.wants.on_unwanted(peer(1), HASH, 1.0)
    assert list(inquiry.have) == [peer(1)]
    assert asker.said(1.0) == []
    asker.wants.inquiries.end(inquiry, asker.listen)
    assert asker.said(1.0) == [(peer(2), CID_, "cancel")]
    asker.wants.on_unwanted(peer(2), HASH, 2.0)  # it answered before it heard the cancel
    assert asker.said(2.0) == []
    asker.wants.on_unwanted(peer(2), HASH, 3.0)
    assert [type(item) for item in asker.said(3.0)] == [Penalise]


def test_two_that_ask_share_one_question():
    asker = Asker(1)
    first, second = asker.ask(), asker.ask()
    assert first is second
    assert len(asker.said()) == 1
    asker.wants.inquiries.end(first, asker.listen)
    assert asker.said() == []
    asker.wants.inquiries.end(second, asker.listen)
    assert asker.said() == [(peer(1), CID_, "cancel")]


def test_a_want_of_the_block_is_asked_as_if_there_had_been_no_question():
    for cid in (CID_, CID(1, DAG_PB, HASH)):
        asker = Asker(1, 2)
        inquiry = asker.ask()
        asker.said()
        session = asker.wants.open_session()
        asker.wants.want(session, [cid], 0.0)
        said = asker.said()
        assert len([item for item in said if item[1:] == (cid, "block")]) == 1
        assert len([item for item in said if item[1:] == (cid, "have")]) == 1
        asker.wants.on_presences(peer(2), [cid], [], 1.0)
        assert list(inquiry.have) == [peer(2)]
        asker.wants.inquiries.end(inquiry, asker.listen)
        assert not [item for item in asker.said() if item[1:] == (cid, "cancel")]
        asker.wants.on_blocks(peer(1), [(HASH, 5, 2.0)], 2.0)
        assert asker.wants.statistics().wants == 0


def test_a_question_about_what_is_wanted_hears_the_wants_answers():
    asker = Asker(1, 2)
    session = asker.wants.open_session()
    asker.wants.want(session, [CID_], 0.0)
    asker.said()
    asker.wants.on_presences(peer(1), [CID_], [], 0.5)
    inquiry = asker.ask()
    assert list(inquiry.have) == [peer(1)]
    assert inquiry.waiting == {peer(2)}
    assert [item for item in asker.said() if not isinstance(item, FindProviders)] == []
    asker.wants.on_presences(peer(2), [], [CID_], 1.0)
    assert not inquiry.waiting
    asker.wants.inquiries.end(inquiry, asker.listen)
    assert asker.said() == []
    assert asker.wants.statistics().wants == 1


def test_peers_that_cannot_say_whether_they_have_it_are_not_asked():
    asker = Asker(1, has_presences=False)
    inquiry = asker.ask()
    assert not inquiry.waiting
    assert asker.said() == []


def test_questions_and_those_asked_are_bounded():
    asker = Asker(*range(1, 3 * CONNECTED_PEERS))
    assert len(asker.ask().waiting) == CONNECTED_PEERS
    for number in range(INQUIRIES - 1):
        assert asker.wants.inquiries.ask(CID.of(b"%d" % number).multihash, asker.listen, 0.0) is not None
    assert asker.wants.inquiries.ask(CID.of(b"one more").multihash, asker.listen, 0.0) is None
