"""The conformance suite: tiers that keep to the Protocol pass, each way to break it is found, plug-ins are loaded."""

from __future__ import annotations

import importlib
import random
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from ipfs_kit_py.core.cid import CID, Block
from ipfs_kit_py.core.errors import BackendError, ConfigError, HashMismatch, NotFound
from ipfs_kit_py.storage.remote import conformance
from ipfs_kit_py.storage.remote.base import Health, Status
from ipfs_kit_py.storage.remote.build import TierContext, build_tier, known_types
from test.remote.dags import KeepingTier, MemoryTier

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Iterator

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "tier_plugin"


# --- tiers that conform -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("check", conformance.CHECKS, ids=str)
def test_a_tier_in_memory_conforms(check: conformance.Check) -> None:
    assert conformance.run(check, KeepingTier)


class ReadingTier(KeepingTier):
    """Gives alone; blocks come to it by another way."""

    verbs = frozenset({"get", "get_dag", "has"})

    async def put(self, root: CID, blocks: AsyncIterable[Block], *, label: str = "") -> Status:
        raise conformance.NotSupported("it reads")

    async def remove(self, root: CID) -> None:
        raise conformance.NotSupported("it reads")

    async def status(self, root: CID) -> Status:
        raise conformance.NotSupported("it reads")


def test_a_tier_that_reads_is_given_its_blocks() -> None:
    tier = ReadingTier()

    def place(blocks: list[Block]) -> None:
        tier.blocks.update((one.cid, bytes(one.data)) for one in blocks)

    applied = trio.run(lambda: conformance.check(tier, place=place))
    assert [name for name, made in applied.items() if not made] == [
        "status_of_what_is_kept", "any_order_and_again", "removed", "false_blocks", "gaps", "failing_sources",
        "cancelled_puts",
    ]  # fmt: skip


def test_checks_that_need_blocks_are_not_made_without_a_way_for_them() -> None:
    applied = trio.run(conformance.check, ReadingTier())
    assert [name for name, made in applied.items() if made] == [
        "describes_itself", "is_well", "lacking_verbs_are_refused", "what_is_not_there",
    ]  # fmt: skip


# --- tiers that do not ------------------------------------------------------------------------------------------------
class Named(KeepingTier):
    name = ""


class Verbose(KeepingTier):
    verbs = frozenset({"get", "fly"})


class Ill(KeepingTier):
    async def health(self) -> Health:
        return Health(False, 0.0, "broken")


class Silent(KeepingTier):
    verbs = frozenset({"get", "get_dag", "has", "put"})


class Inventive(KeepingTier):
    async def get(self, cid: CID) -> bytes:
        return self.blocks.get(cid, b"")


class Affirming(KeepingTier):
    async def has(self, cid: CID) -> bool:
        return True


class Denying(KeepingTier):
    async def has(self, cid: CID) -> bool:
        return False


class Flat(KeepingTier):
    """Gives all that it holds for any DAG."""

    async def get_dag(self, root: CID) -> AsyncGenerator[Block, None]:
        await self.get(root)
        for cid, data in self.blocks.items():
            yield Block(cid, data)


class Twice(KeepingTier):
    async def get_dag(self, root: CID) -> AsyncGenerator[Block, None]:
        data = await self.get(root)
        yield Block(root, data)
        yield Block(root, data)


class Forgetful(KeepingTier):
    """Forgets blocks by version 0, and all but the last put."""

    async def put(self, root: CID, blocks: AsyncIterable[Block], *, label: str = "") -> Status:
        status = await super().put(root, blocks)
        self.blocks = {cid: data for cid, data in self.blocks.items() if cid.version}
        return status


class Hasty(KeepingTier):
    """Calls safe what it was merely asked to keep."""

    async def put(self, root: CID, blocks: AsyncIterable[Block], *, label: str = "") -> Status:
        self.roots[root] = label
        async for cid, data in blocks:
            if not cid.verify(data):
                self.roots.pop(root)
                raise HashMismatch("false", expected=cid)
            self.blocks[cid] = bytes(data)
        return await self.status(root)


class Credulous(KeepingTier):
    async def put(self, root: CID, blocks: AsyncIterable[Block], *, label: str = "") -> Status:
        self.blocks |= {cid: bytes(data) async for cid, data in blocks}
        self.roots[root] = label
        return await self.status(root)


class Swallowing(KeepingTier):
    """Takes the end of a failed source for its end."""

    async def put(self, root: CID, blocks: AsyncIterable[Block], *, label: str = "") -> Status:
        try:
            return await super().put(root, blocks)
        except (HashMismatch, NotFound):
            raise
        except Exception:  # noqa: BLE001 - the mistake that is to be found
            return Status(root, "kept", True, 1)


class Clinging(KeepingTier):
    async def remove(self, root: CID) -> None:
        pass


class Picky(KeepingTier):
    async def remove(self, root: CID) -> None:
        del self.roots[root]


class Never(KeepingTier):
    async def status(self, root: CID) -> Status:
        return Status(root, "queued", False, 0)


class Loud(KeepingTier):
    async def status(self, root: CID) -> Status:
        return Status((await super().status(root)).cid, "KEPT", True, 1)


class Ordered(KeepingTier):
    """Wants the root first."""

    async def put(self, root: CID, blocks: AsyncIterable[Block], *, label: str = "") -> Status:
        found = [one async for one in blocks]
        if found[0].cid != root:
            raise BackendError("the root comes first")
        for cid, data in found:
            self.blocks[cid] = bytes(data)
        self.roots[root] = label
        return await self.status(root)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Named, "describes_itself"),
        (Verbose, "describes_itself"),
        (Ill, "is_well"),
        (Silent, "lacking_verbs_are_refused"),
        (Inventive, "what_is_not_there"),
        (Affirming, "what_is_not_there"),
        (Never, "what_is_not_there"),
        (Denying, "roots_are_had"),
        (Flat, "dags_come_back"),
        (Twice, "dags_come_back"),
        (Forgetful, "odd_blocks"),
        (Hasty, "gaps"),
        (Hasty, "failing_sources"),
        (Hasty, "cancelled_puts"),
        (Credulous, "false_blocks"),
        (Swallowing, "failing_sources"),
        (Clinging, "removed"),
        (Picky, "removed"),
        (Never, "status_of_what_is_kept"),
        (Loud, "status_of_what_is_kept"),
        (Ordered, "any_order_and_again"),
    ],
)
def test_what_breaks_the_protocol_is_found(kind: type[KeepingTier], name: str) -> None:
    (check,) = (one for one in conformance.CHECKS if one.name == name)

    async def main() -> None:
        with pytest.raises((conformance.NotConforming, NotFound, BackendError, KeyError)):
            await check(conformance.Setting(kind(), seconds=5.0))

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_tier_that_hangs_is_found() -> None:
    class Hanging(MemoryTier):
        async def health(self) -> Health:
            await trio.sleep_forever()
            raise AssertionError

    async def main() -> None:
        with pytest.raises(conformance.NotConforming, match="is_well: not done within 20 s"):
            await conformance.check(Hanging([]), seconds=5.0)

    class Refusing(Hanging):
        verbs = frozenset()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert conformance.run(conformance.CHECKS[0], lambda: Refusing([]))


# --- plug-ins ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages with the example in it as an installer would leave it."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    _install(tmp_path, project["name"], project["entry-points"]["ipfs_kit.tiers"])
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("ipfs_kit_folder_tier", None)


def _install(folder: Path, package: str, points: dict[str, str]) -> None:
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {value}\n" for name, value in points.items()]
    (info / "entry_points.txt").write_text("[ipfs_kit.tiers]\n" + "".join(lines))


def context() -> TierContext:
    return TierContext(rng=random.Random(1))


def build(table: dict[str, Any]) -> Any:
    return build_tier(table, context())


@pytest.mark.parametrize("check", conformance.CHECKS, ids=str)
def test_the_example_is_loaded_by_its_entry_point_and_conforms(installed: Path, check: conformance.Check) -> None:
    table = {"type": "folder", "name": "archive", "path": str(installed / "data")}
    assert "folder" in known_types()
    assert conformance.run(check, lambda: build(table))


def test_the_tables_of_plug_ins_are_checked_likewise(installed: Path) -> None:
    with pytest.raises(ConfigError, match="tier folder: the key path is missing"):
        build({"type": "folder"})
    with pytest.raises(ConfigError, match="tier folder: the key pth is unknown"):
        build({"type": "folder", "path": str(installed / "data"), "pth": "x"})


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ({"odd": "no_such_module:make"}, "cannot load no_such_module:make: ModuleNotFoundError"),
        ({"odd": "json:no_such_name"}, "cannot load json:no_such_name: AttributeError"),
        ({"odd": "sys:path"}, "sys:path is no callable"),
        ({"other": "json:loads"}, "there is no type 'odd'; types are: .*other"),
    ],
)
def test_plug_ins_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, points: dict[str, str], said: str
) -> None:
    _install(tmp_path, "odd-one", points)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=said):
        build({"type": "odd"})


def test_two_packages_with_one_type_are_refused(installed: Path) -> None:
    _install(installed, "another", {"folder": "another:make"})
    with pytest.raises(ConfigError, match="several packages have a type 'folder'"):
        build({"type": "folder"})


def test_no_package_takes_the_name_of_our_own(installed: Path) -> None:
    _install(installed, "another", {"kubo": "another:make"})
    assert build({"type": "kubo", "endpoint": "http://127.0.0.1:5001"}).name == "kubo"


def test_a_plug_in_keeps_the_name_of_its_table(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("ipfs_kit_folder_tier")
    monkeypatch.setattr(module, "make", lambda _spec, _context: KeepingTier())
    with pytest.raises(ConfigError, match="gave one called 'memory'"):
        build({"type": "folder"})
