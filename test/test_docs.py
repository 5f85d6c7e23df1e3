"""What the texts name is there: files, tests in them, and the modules of the layout."""

import random
import re
import tomllib
from pathlib import Path

import pytest

from ipfs_kit_py.storage.remote.build import TierContext, build_tiers, known_types
from test.remote.test_build import storacha_table

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "ipfs_kit_py"
TEXTS = sorted([*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))])
GENERATED = [ROOT / line.strip("/") for line in (ROOT / ".gitignore").read_text().split() if "*" not in line]

NAMED = re.compile(r"`([\w.-]+(?:/[\w.-]+)+/?|[\w-]+\.(?:py|md|toml))((?:::\w+)*)`")
LINKED = re.compile(r"\]\(([^)#:\s]+)\)")
OF_A_REPO = {"config.toml"}  # files of the user's, not of ours
MADE = {"cli.md", "configuration.md", "rpc.md"}  # pages of docs/reference that are made from the code with the site
LISTED = ("bitswap", "net", "storage", "dag", "crypto", "core")  # packages whose modules the layout lists one by one


def is_path(name: str) -> bool:
    """Whether something that looks like a path is one of ours: it begins in a folder of this project."""
    first, *rest = name.split("/")
    return not rest or (ROOT / first).is_dir() or (SOURCE / first).is_dir()


def found(name: str, text: Path) -> Path | None:
    """Where a name leads: from the root, from the package, from the text's own folder; a bare one into any folder."""
    candidates = [folder / name for folder in (ROOT, SOURCE, text.parent)]
    if "/" not in name:
        candidates += [path for folder in ("src", "test", "bench", "scripts") for path in (ROOT / folder).rglob(name)]
    return next((path for path in candidates if path.exists()), None)


def is_generated(name: str) -> bool:
    return any((ROOT / name).is_relative_to(path) for path in GENERATED)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: str(text.relative_to(ROOT)))
def test_the_files_and_tests_that_a_text_names_are_there(text):
    content = text.read_text(encoding="utf-8")
    linked = [name for name in LINKED.findall(content) if name.rpartition("/")[2] not in MADE]
    wrong = [name for name in linked if not (text.parent / name).exists()]
    for name, inside in NAMED.findall(content):
        if name in OF_A_REPO or not is_path(name) or is_generated(name):
            continue
        path = found(name, text)
        if path is None:
            wrong.append(name)
        elif inside:
            parts = inside.removeprefix("::").split("::")
            code = path.read_text(encoding="utf-8")
            wrong += [f"{name}::{part}" for part in parts if not re.search(rf"\b(def|class) {part}\b", code)]
    assert not wrong


def test_there_is_something_to_look_for():
    features = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    assert sum("::" in inside for _, inside in NAMED.findall(features)) > 100


def layout() -> str:
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    return re.search(r"```\nsrc/ipfs_kit_py/\n(.*?)```", design, re.DOTALL).group(1)


def modules(package: str) -> set[str]:
    return {path.stem for path in (SOURCE / package).glob("*.py") if not path.stem.endswith(("__", "_pb2"))}


def test_every_module_is_in_the_layout():
    """A name stands for its family too: ``yamux`` for ``yamux_send``."""
    named = set(re.findall(r"\w+", layout()))
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert packages | modules(".") - {"__init__"} <= named
    for package in LISTED:
        assert {name for name in modules(package) if not named & {name, name.partition("_")[0]}} == set(), package


def test_the_layout_marks_what_is_held_to_be_without_io():
    """An asterisk, for a module or a whole package; `lint-imports` holds them to it."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    forbidden = re.search(r"source_modules = \[(.*?)\]", project, re.DOTALL).group(1)
    held = {name.rpartition(".")[2] for name in re.findall(r'"ipfs_kit_py\.([\w.]+)"', forbidden)}
    marked = set(re.findall(r"(\w+)/?\*", layout()))
    assert marked <= held
    assert {name for name in held if not marked & {name, name.partition("_")[0]}} == set()


# --- examples of tiers ------------------------------------------------------------------------------------------------
def tables_of_tiers() -> list[dict]:
    text = (ROOT / "docs" / "tiers.md").read_text(encoding="utf-8")
    parsed = [tomllib.loads(code) for code in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)]
    return [table for value in parsed for table in value.get("tiers", [])]


def test_every_type_of_tier_has_an_example():
    assert {table["type"] for table in tables_of_tiers()} == set(known_types())


@pytest.mark.parametrize("table", tables_of_tiers(), ids=lambda table: table["type"])
def test_examples_of_tiers_can_be_made(table, tmp_path):
    """As they stand, but for secrets, and for ``replicate``, which is the node's."""
    keys = storacha_table()
    text = (ROOT / "docs" / "tiers.md").read_text(encoding="utf-8")
    environment = dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "secret")
    environment |= {"STORACHA_AGENT": keys["agent"], "STORACHA_PROOF": keys["proofs"][0], "CHAIN_KEY": "0x" + "01" * 32}
    spec = {key: value for key, value in table.items() if key != "replicate"}
    [tier] = build_tiers([spec], TierContext(rng=random.Random(), folder=tmp_path, environment=environment))
    assert tier.name == table.get("name", table["type"])
    assert "secret" not in repr(tier)
