"""What the value store takes, and which of several it prefers."""

from __future__ import annotations

import pytest

from ipfs_kit_py.core.errors import InvalidRecord
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.routing.validators import Validators

NOW = 1_800_000_000.0
KEY, OTHER = PrivateKey.generate(), PrivateKey.generate()
RULES = Validators()
PK, NAME = b"/pk/" + KEY.peer_id().raw, ipns.record_key(KEY.peer_id())


def test_a_public_key_under_its_own_name_alone() -> None:
    RULES.validate(PK, KEY.public_key.encode(), NOW)
    assert RULES.select(PK, [KEY.public_key.encode()] * 2) == 0
    for key, value in ((PK, OTHER.public_key.encode()), (PK, b"x"), (b"/pk/x", KEY.public_key.encode())):
        with pytest.raises(InvalidRecord):
            RULES.validate(key, value, NOW)


def test_a_replayed_record_never_wins() -> None:
    old = ipns.create(KEY, "/ipfs/old", 1, NOW, lifetime=1e6)
    new = ipns.create(KEY, "/ipfs/new", 2, NOW, lifetime=1e3)
    for value in (old, new):
        RULES.validate(NAME, value, NOW)
    assert RULES.select(NAME, [old, new]) == 1
    assert RULES.select(NAME, [new, old, new]) == 0
    with pytest.raises(InvalidRecord, match="expired"):
        RULES.validate(NAME, new, NOW + 1e3)


def test_other_keys_and_nothing_to_choose_from() -> None:
    for key in (b"", b"/x/y", b"ipns/", b"/pk", b"/IPNS/" + KEY.peer_id().raw):
        with pytest.raises(InvalidRecord, match="no records are kept"):
            RULES.validate(key, b"", NOW)
    for key in (PK, NAME):
        with pytest.raises(InvalidRecord, match="no value"):
            RULES.select(key, [])
    with pytest.raises(InvalidRecord, match="signature"):
        RULES.validate(NAME, ipns.create(OTHER, "/ipfs/x", 9, NOW), NOW)
