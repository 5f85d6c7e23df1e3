"""Checks that every run-time dependency installs from wheels alone: ``python scripts/check_wheels.py [VERSION...]``.

A user's machine has no compiler. pip resolves for each Python version, installs nothing, and refuses source archives.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

VERSIONS = ("3.11", "3.12", "3.13")


def resolves(version: str, requirements: list[str]) -> bool:
    """Whether pip finds wheels for all requirements, and for what these require, on one Python version."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--dry-run"]
        options = ["--only-binary=:all:", f"--python-version={version}", "--implementation=cp", f"--target={folder}"]
        return subprocess.run([*pip, *options, *requirements], check=False).returncode == 0


def main() -> int:
    """Check the versions named on the command line, or all that are supported."""
    pyproject = Path(__file__).resolve().parents[1] / "pyproject.toml"
    requirements = tomllib.loads(pyproject.read_text())["project"]["dependencies"]
    failed = 0
    for version in sys.argv[1:] or VERSIONS:
        found = resolves(version, requirements)
        print(f"Python {version}: {'wheels for everything' if found else 'NOT from wheels alone'}", flush=True)
        failed += not found
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
