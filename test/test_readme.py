"""What the README shows as Python runs as shown."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^ipfs-kit (?:--peer \S+ )?([a-z]+)", README, re.MULTILINE)


@pytest.mark.parametrize("code", EXAMPLES, ids=lambda code: code.split("\n", 1)[0])
def test_each_example_prints_a_result(code):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(r"baf[yk]\w+ ", done.stdout)


def test_there_are_examples_of_both_faces():
    assert len(EXAMPLES) == 2


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_each_command_is_one(command):
    done = subprocess.run(
        [sys.executable, "-m", "ipfs_kit_py.cli", command, "--help"], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0
