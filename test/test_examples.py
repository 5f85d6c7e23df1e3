"""The examples as a user runs them: each in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
# each example, and what it prints when it works
TOLD = {
    "libp2p_example.py": ["1. the kit has a peer", "1,500,000 bytes that only", "the friend fetched 'Hello",
                          "handled: 1", "success rate: 1.00", "total bytes retrieved: 1,500,", "providers found: 1"],
    "custom_protocol.py": ["says: multiaddr has 9 bytes"],
    "tiers.py": ["was used", "memory:", "disk:", "all whole"],
    "dataset.py": ["published bafy", "'city': 'Bern'", "5 visits since 2024", "fetched over libp2p"],
    "asyncio_program.py": ["20 texts fetched at once, the last is 'text 19'", "is provided by ['12D3"],
}  # fmt: skip


def run(name, *arguments, code=0):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", TOLD)
def test_an_example(name):
    told = run(name)
    assert [line for line in TOLD[name] if line not in told] == [], told


def test_a_file_goes_from_one_machine_to_another(tmp_path):
    file = tmp_path / "from here"
    file.write_bytes(bytes(range(256)) * 20_000)
    sharing = subprocess.Popen(
        [sys.executable, EXAMPLES / "two_machines.py", "share", file],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with sharing:
        assert sharing.stdout is not None
        address, cid = sharing.stdout.readline().split()[3:5]
        told = run("two_machines.py", "fetch", address, cid, tmp_path / "there")
        assert "5,120,000 bytes, verified" in told
        assert (tmp_path / "there").read_bytes() == file.read_bytes()
        sharing.communicate("")
    assert sharing.returncode == 0
    assert "failed: " in run("two_machines.py", "fetch", address, cid, tmp_path / "again", code=1)


def test_all_examples_are_run():
    found = {path.name for path in EXAMPLES.glob("*.py")}
    assert found == {*TOLD, "two_machines.py"}
