"""What the README shows as Python runs as shown."""

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ipfs_kit_py.repo import Repo
from ipfs_kit_py.storage.remote.build import TierContext, build_tiers
from test.remote.test_build import storacha_table

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
CONFIGURATIONS = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^ipfs-kit (?:--peer \S+ )?([a-z]+)", README, re.MULTILINE)


@pytest.mark.parametrize("code", EXAMPLES, ids=lambda code: code.split("\n", 1)[0])
def test_each_example_prints_a_result(code):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(r"baf[yk]\w+ ", done.stdout)


def test_there_are_examples_of_each_face():
    assert len(EXAMPLES) == 5


def test_the_tiers_of_the_configuration_can_be_made(tmp_path, monkeypatch):
    text = CONFIGURATIONS[1]
    (tmp_path / "config.toml").write_text(text)
    table = storacha_table()
    secrets = {"STORACHA_AGENT": table["agent"], "STORACHA_PROOF": table["proofs"][0], "PIN_TOKEN": "x"}
    for name, value in {**secrets, "CLUSTER_PASSWORD": "y"}.items():
        monkeypatch.setenv(name, value)
    config = Repo(tmp_path).config()
    assert config.storage_max == 20_000_000_000
    tiers = build_tiers(
        [{key: value for key, value in spec.items() if key != "replicate"} for spec in config.tiers],
        TierContext(rng=random.Random(), folder=tmp_path / "tiers"),
    )
    assert [tier.name for tier in tiers] == ["kubo", "gateway", "ipfs_cluster", "storacha", "filecoin"]


def test_the_configuration_of_routing_is_one(tmp_path):
    (tmp_path / "config.toml").write_text(CONFIGURATIONS[0])
    config = Repo(tmp_path).config()
    assert (len(config.bootstrap_addresses), config.role_policy.dht_mode) == (2, "server")
    assert len(CONFIGURATIONS) == 2


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_each_command_is_one(command):
    done = subprocess.run(
        [sys.executable, "-m", "ipfs_kit_py.cli", command, "--help"], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0
