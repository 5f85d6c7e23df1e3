"""The documentation: what its pages show runs, and the pages that are made from the code are whole."""

import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import typer.main

from ipfs_kit_py.cli.main import app
from ipfs_kit_py.core.config import NodeConfig
from ipfs_kit_py.repo import Repo
from ipfs_kit_py.verbs.table import VERBS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [DOCS / "index.md", DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md"))]


def blocks(language):
    return [
        pytest.param(code, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, code in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL))
    ]


@pytest.mark.parametrize("code", blocks("python"))
def test_each_program_runs(code, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("text", blocks("toml"))
def test_each_configuration_is_one(text, tmp_path):
    assert tomllib.loads(text)
    (tmp_path / "config.toml").write_text(text)
    assert Repo(tmp_path).config().repo == tmp_path


def commands(text):
    """The words of each call of ``ipfs-kit`` in a block for a shell."""
    for line in text.splitlines():
        for part in re.split(r"[|;&]|\$\(", line.split(" #")[0]):
            words = shlex.split(part.strip())
            if words and words[0] == "ipfs-kit":
                yield words[1:]


@pytest.mark.parametrize("text", blocks("sh"))
def test_each_command_and_its_options_are_there(text):
    for words in commands(text):
        command, options = typer.main.get_command(app), []
        for word in words:
            known = {name: item for item in command.params for name in (*item.opts, *item.secondary_opts)}
            if word.startswith("-") and word != "-":
                assert word in known, f"ipfs-kit {' '.join(words)}: {word}"
                options.append(word)
            elif word in getattr(command, "commands", {}):
                command = command.commands[word]
        assert not getattr(command, "commands", {}) or options, f"ipfs-kit {' '.join(words)} is no command"


def test_there_is_something_to_run():
    assert len(blocks("python")) > 10
    assert sum(1 for block in blocks("sh") for _ in commands(block.values[0])) > 25


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"- (?:\w+: )?([\w/-]+\.md)", (ROOT / "mkdocs.yml").read_text("utf-8")))
    there = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert listed - there == {
        "reference/cli.md",
        "reference/configuration.md",
        "reference/rpc.md",
    }  # made from the code
    assert there - listed == set()


# --- pages that are made from the code: the hooks need mkdocs, the tests do not ---------------------------------------
@pytest.fixture(scope="module")
def hooks():
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import docs_pages
    finally:
        sys.path.pop(0)
    return docs_pages


def test_every_setting_is_described(hooks):
    page = hooks.configuration()
    assert [item.name for item in fields(NodeConfig) if f"| `{item.name}` |" not in page] == []
    assert set(hooks.SETTINGS) == {item.name for item in fields(NodeConfig)}


def test_every_verb_and_every_command_is_there(hooks):
    page, found = hooks.verbs(), hooks.commands()
    assert [name for name in VERBS if f"| `{name}` |" not in page] == []
    root = typer.main.get_command(app)
    for name, command in root.commands.items():
        assert f"## {name}\n" in found
        for inner in getattr(command, "commands", {}):
            assert f"### {name} {inner}\n" in found
    assert "`--offset`" in found
