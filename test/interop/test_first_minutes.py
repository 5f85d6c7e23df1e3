"""The README's first minutes, typed as they stand into a shell: from nothing to a file of a real Kubo's."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from test.peers import locate
from test.peers.kubo import Kubo

ROOT = Path(__file__).resolve().parents[2]
SECTION = re.search(r"## First minutes\n(.*?)\n\| you want to", (ROOT / "README.md").read_text(), re.DOTALL)
STEPS = re.findall(r"```sh\n(.*?)```", SECTION.group(1), re.DOTALL)
PARTS = ("src", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture
def kubo(tmp_path):
    try:
        binary = locate.kubo()
    except locate.PeerMissing as error:
        pytest.skip(str(error))
    with Kubo(binary, tmp_path / "kubo") as found:
        yield binary, found


def test_each_step_does_what_it_says(kubo, tmp_path):
    binary, node = kubo
    project = tmp_path / "project"
    project.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, project / part)
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "ipfs").symlink_to(binary)
    (commands / "python3").symlink_to(sys.executable)
    home = tmp_path / "home"
    home.mkdir()
    env = {**os.environ, "IPFS_PATH": str(node.repo), "PATH": f"{commands}:{os.environ['PATH']}"}
    env |= {"IPFS_KIT_PATH": str(home / "repo"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    for name in ("VIRTUAL_ENV", "PYTHONPATH"):
        env.pop(name, None)
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", "\n".join(STEPS)],
        cwd=project, env=env, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = done.stdout.splitlines()
    assert "hello" in told
    assert told[-1] == "hello from Kubo"
    assert any(line.startswith("ipfs-kit --peer /ip4/127.0.0.1/tcp/") for line in told)


def test_there_are_steps():
    assert [step.split()[0] for step in STEPS] == ["python3", "echo", "echo", "ipfs-kit"]
