"""What one peer is told of our wants: differences, by example and against a model of the peer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.bitswap.wantlist import MESSAGE_BYTES, Wantlist
from ipfs_kit_py.bitswap.wire import Entry, Message, encode, entry_size

from .bitswap_world import cid_of

if TYPE_CHECKING:
    from ipfs_kit_py.core.cid import CID


def _said(wantlist: Wantlist) -> list[tuple[CID, str]]:
    entries, _ = wantlist.take()
    return [(entry.cid, "cancel" if entry.cancel else "have" if entry.want_have else "block") for entry in entries]


def test_differences_only() -> None:
    """A want is told once, then its upgrade, then its end."""
    wantlist = Wantlist()
    assert not wantlist.dirty
    assert wantlist.want(cid_of(1), block=False, priority=7)
    assert wantlist.dirty
    entries, full = wantlist.take()
    assert entries == [Entry(cid_of(1), 7, want_have=True, send_dont_have=True)]
    assert full  # the first message replaces what the peer may remember of us
    assert not wantlist.dirty
    assert not wantlist.want(cid_of(1), block=False)
    assert not wantlist.dirty
    assert wantlist.want(cid_of(1), block=True)
    assert len(wantlist) == 1
    assert wantlist.take() == ([Entry(cid_of(1), 1, send_dont_have=True)], False)
    assert not wantlist.want(cid_of(1), block=False)  # never asked down
    wantlist.cancel(cid_of(1))
    assert _said(wantlist) == [(cid_of(1), "cancel")]
    assert len(wantlist) == 0


def test_put_and_cancel_before_it_is_sent_costs_nothing() -> None:
    """In both orders, and also for an upgrade."""
    wantlist = Wantlist()
    wantlist.want(cid_of(1), block=True)
    wantlist.cancel(cid_of(1))
    assert not wantlist.dirty
    wantlist.want(cid_of(1), block=False)
    wantlist.take()
    wantlist.cancel(cid_of(1))
    assert not wantlist.asked(cid_of(1))
    assert wantlist.want(cid_of(1), block=True)
    assert _said(wantlist) == [(cid_of(1), "block")]
    wantlist.cancel(cid_of(1))
    assert wantlist.want(cid_of(1), block=True)  # the peer has it, but may have answered in vain
    assert len(wantlist) == 1
    assert _said(wantlist) == [(cid_of(1), "block")]
    wantlist.want(cid_of(2), block=False)
    wantlist.take()
    wantlist.want(cid_of(2), block=True)
    wantlist.cancel(cid_of(2))
    assert len(wantlist) == 1
    assert _said(wantlist) == [(cid_of(2), "cancel")]


def test_cancel_goes_only_to_who_was_told() -> None:
    """A want that nobody heard of, and one that the peer fulfilled, need none."""
    wantlist = Wantlist()
    wantlist.cancel(cid_of(1))
    assert not wantlist.dirty
    wantlist.want(cid_of(2), block=True)
    wantlist.take()
    wantlist.forget(cid_of(2))
    wantlist.cancel(cid_of(2))
    assert not wantlist.dirty
    assert len(wantlist) == 0


def test_reset_tells_all_that_stands() -> None:
    """As a full list, without what was cancelled; an empty one where nothing stands and something was told."""
    wantlist = Wantlist()
    for number in (1, 2, 3):
        wantlist.want(cid_of(number), block=number == 1)
    wantlist.take()
    wantlist.cancel(cid_of(2))
    wantlist.want(cid_of(3), block=True)
    wantlist.want(cid_of(4), block=False)
    wantlist.reset()
    entries, full = wantlist.take()
    assert full
    assert [(entry.cid, entry.want_have, entry.cancel) for entry in entries] == [
        (cid_of(1), False, False),
        (cid_of(3), False, False),
        (cid_of(4), True, False),
    ]
    for number in (1, 3, 4):
        wantlist.cancel(cid_of(number))
    wantlist.reset()
    assert wantlist.dirty
    assert wantlist.take() == ([], True)
    assert not wantlist.dirty
    wantlist.reset()
    assert not wantlist.dirty
    wantlist.want(cid_of(5), block=True)
    wantlist.take()
    wantlist.reset()
    wantlist.reset()
    wantlist.cancel(cid_of(5))  # the peer may know of it all the same
    assert wantlist.dirty
    assert wantlist.take() == ([], True)


def test_long_lists_go_in_several_messages() -> None:
    """None is much longer than 64 KiB, the first alone is full, and cancels make room first."""
    wantlist = Wantlist()
    for number in range(5000):
        wantlist.want(cid_of(number), block=True)
    parts = []
    while wantlist.dirty:
        parts.append(wantlist.take())
    assert [full for _, full in parts] == [True] + [False] * (len(parts) - 1)
    assert sum(len(entries) for entries, _ in parts) == 5000
    assert len(parts) > 3
    for entries, _ in parts:
        assert sum(map(entry_size, entries)) < MESSAGE_BYTES + 200
        assert sum(len(part) for part in encode(Message(entries=entries))) <= MESSAGE_BYTES + 200
    wantlist.want(cid_of(9000), block=True)
    wantlist.cancel(cid_of(7))
    assert _said(wantlist) == [(cid_of(7), "cancel"), (cid_of(9000), "block")]


_steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["block", "have", "cancel", "forget"]), st.integers(0, 5)),
        st.tuples(st.sampled_from(["take", "reset"]), st.just(0)),
    ),
    max_size=60,
)


@given(_steps)
def test_the_peer_knows_what_stands(steps: list[tuple[str, int]]) -> None:
    """Whatever is done in whatever order: once all is taken, a peer that follows the messages holds just what stands,
    every entry was news to it, and it never held more than the list's length."""
    wantlist = Wantlist()
    model: dict[CID, str] = {}  # what should stand
    peer: dict[CID, str] = {}

    def take() -> None:
        entries, full = wantlist.take()
        if full:
            peer.clear()
        for entry in entries:
            if entry.cancel:
                del peer[entry.cid]  # it was told of it
            else:
                kind = "have" if entry.want_have else "block"
                peer[entry.cid] = kind
            assert len(peer) <= max(before, len(wantlist))

    for what, number in [*steps, ("take", 0)]:
        cid = cid_of(number)
        before = len(peer)
        match what:
            case "block" | "have":
                wantlist.want(cid, block=what == "block")
                if model.get(cid) != "block":
                    model[cid] = what
            case "cancel":
                wantlist.cancel(cid)
                model.pop(cid, None)
            case "forget":
                wantlist.forget(cid)
                model.pop(cid, None)
                peer.pop(cid, None)
            case "take":
                if wantlist.dirty:
                    take()
                assert peer == model
                assert not wantlist.dirty
            case "reset":
                wantlist.reset()
        assert set(wantlist.cids()) == set(model)
        assert len(wantlist) == len(model)
        assert all(wantlist.asked(cid_of(other)) == (cid_of(other) in model) for other in range(6))
