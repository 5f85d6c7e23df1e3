"""Completion of words in the shells."""

import os
import shutil
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-c", "import sys; sys.argv[0] = 'ipfs-kit'; from ipfs_kit_py.cli.main import main; main()"]


def complete(shell, typed, **more):
    """What the shell is told for words that were typed so far."""
    env = {"_IPFS_KIT_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": typed, **more}
    env |= {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    done = subprocess.run(COMMAND, env={**os.environ, **env}, capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("ipfs-kit d", {"daemon", "dag", "doctor"}),
        ("ipfs-kit files r", {"read", "rm"}),
        ("ipfs-kit cat --o", {"--offset"}),
        ("ipfs-kit name ", {"publish", "resolve"}),
    ],
)
def test_commands_and_options_are_completed(shell, typed, expected):
    told = complete(shell, typed, _TYPER_COMPLETE_FISH_ACTION="get-args")
    assert all(word in told for word in expected)
    assert "bitswap" not in told


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_shown_for_the_shell_that_is_named(shell, tmp_path):
    done = subprocess.run(
        [*COMMAND, "--show-completion", shell], env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "_IPFS_KIT_COMPLETE" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash on this machine")
def test_bash_takes_the_script():
    script = subprocess.run(
        [*COMMAND, "--show-completion", "bash"], capture_output=True, text=True, timeout=30, check=True
    )
    done = subprocess.run(
        ["bash", "-c", f"{script.stdout}\ncomplete -p ipfs-kit"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "-F _ipfs_kit_completion" in done.stdout
