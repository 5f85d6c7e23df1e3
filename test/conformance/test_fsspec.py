"""fsspec's own suite over the writable view: on a node of this process, and on a daemon."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

import pytest
from fsspec.tests.abstract import (
    AbstractCopyTests,
    AbstractFixtures,
    AbstractGetTests,
    AbstractOpenTests,
    AbstractPipeTests,
    AbstractPutTests,
)

from ipfs_kit_py.ipfs_fsspec import IPFSFileSystem
from test.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class OnNode(AbstractFixtures):
    """The root of a node of this process, in memory."""

    @pytest.fixture(scope="class")
    @classmethod
    def fs(cls) -> Iterator[Any]:
        filesystem = IPFSFileSystem(repo=None, offline=True, writable=True)
        yield filesystem
        filesystem.close()

    @pytest.fixture
    def fs_path(self) -> str:
        return "/work"

    @pytest.fixture
    def fs_join(self) -> Callable[..., str]:
        return posixpath.join


class OnDaemon(OnNode):
    """The root of a daemon's repo."""

    @pytest.fixture(scope="class")
    @classmethod
    def fs(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
        repo = tmp_path_factory.mktemp("daemon")
        with Daemon(repo):
            filesystem = IPFSFileSystem(repo=str(repo), writable=True)
            yield filesystem
            filesystem.close()


class TestCopyOnNode(AbstractCopyTests, OnNode):
    pass


class TestGetOnNode(AbstractGetTests, OnNode):
    pass


class TestPutOnNode(AbstractPutTests, OnNode):
    pass


class TestOpenOnNode(AbstractOpenTests, OnNode):
    pass


class TestPipeOnNode(AbstractPipeTests, OnNode):
    pass


class TestCopyOnDaemon(AbstractCopyTests, OnDaemon):
    pass


class TestGetOnDaemon(AbstractGetTests, OnDaemon):
    pass


class TestPutOnDaemon(AbstractPutTests, OnDaemon):
    pass


class TestOpenOnDaemon(AbstractOpenTests, OnDaemon):
    pass


class TestPipeOnDaemon(AbstractPipeTests, OnDaemon):
    pass
