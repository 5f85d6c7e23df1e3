"""What is signed for the warm storage contract, against what its reference implementation made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.errors import ConfigError
from ipfs_kit_py.storage.remote.filecoin.warm_storage import ChainKey, WarmStorage, keccak, signer_of

V: dict[str, Any] = json.loads((Path(__file__).parents[1] / "remote" / "vectors" / "warm_storage.json").read_text())
STORAGE = WarmStorage(ChainKey(V["key"]), V["contract"], V["chain"])
PIECES = [(CID.parse(text), dict[str, str]()) for text in V["pieces"]]


def test_the_address_of_the_key() -> None:
    assert STORAGE.key.address == V["address"].lower()
    assert repr(STORAGE.key) == f"<ChainKey of {V['address'].lower()}>"
    assert V["key"][2:] not in repr(STORAGE)


def test_the_reference_implementation_signs_the_same() -> None:
    extra = V["extra"]
    assert "0x" + STORAGE.create(V["client_data_set"], V["payee"], V["metadata"]).hex() == extra["createDataSet"]
    assert "0x" + STORAGE.add(V["client_data_set"], V["nonce"], PIECES).hex() == extra["addPieces"]
    assert "0x" + STORAGE.remove(V["client_data_set"], V["removed"]).hex() == extra["schedulePieceRemovals"]
    assert "0x" + STORAGE.terminate(V["terminated"]).hex() == extra["terminateService"]


def test_both_in_one_call() -> None:
    """Two byte strings, each behind its offset."""
    create, add = bytes.fromhex(V["extra"]["createDataSet"][2:]), bytes.fromhex(V["extra"]["addPieces"][2:])
    both = STORAGE.create_and_add(create, add)
    for head, expected in ((0, create), (32, add)):
        at = int.from_bytes(both[head : head + 32], "big")
        size = int.from_bytes(both[at : at + 32], "big")
        assert both[at + 32 : at + 32 + size] == expected


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 2**255), st.binary(max_size=64))
def test_the_signer_is_found_again(secret: int, message: bytes) -> None:
    key = ChainKey(secret.to_bytes(32, "big"))
    digest = keccak(message)
    signature = key.sign(digest)
    assert signer_of(digest, signature) == key.address
    assert signer_of(keccak(digest), signature) != key.address


def test_false_signatures_name_no_one() -> None:
    digest = keccak(b"")
    signature = STORAGE.key.sign(digest)
    high = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 - int.from_bytes(signature[32:64], "big")
    for false in (
        signature[:64] + b"\x1d",
        bytes(32) + signature[32:],
        signature[:32] + bytes(32) + signature[64:],
        signature[:32] + high.to_bytes(32, "big") + signature[64:],
        (5).to_bytes(32, "big") + signature[32:],  # no point of the curve is there
    ):
        with pytest.raises(ValueError, match=r"signature|coordinate"):
            signer_of(digest, false)


@pytest.mark.parametrize("secret", ["", "0x12", "zz" * 32, bytes(32), b"\xff" * 32, bytes(31)])
def test_what_is_no_key_is_refused_without_being_quoted(secret: bytes | str) -> None:
    with pytest.raises(ConfigError) as caught:
        ChainKey(secret)
    if secret:
        assert str(secret) not in str(caught.value)


@pytest.mark.parametrize("address", ["", "0x12", "0x" + "g" * 40, "0x" + "1" * 42])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        STORAGE.create(1, address, {})


def test_numbers_fit_the_chain() -> None:
    for number in (-1, 1 << 256):
        with pytest.raises(ConfigError):
            STORAGE.remove(number, [1])
