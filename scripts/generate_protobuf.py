"""Writes ``*_pb2.py`` and ``*_pb2.pyi`` beside each ``.proto`` file; with ``--check`` only says whether they match."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"


def generate(into: Path) -> list[Path]:
    """Compile every ``.proto`` file into a folder that mirrors ``src``; what was written, relative to the folder."""
    protos = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.proto"))
    plugin = Path(sys.executable).with_name("protoc-gen-mypy")  # its stubs pass mypy's strict mode, protoc's own do not
    compiler = [sys.executable, "-m", "grpc_tools.protoc", f"--plugin=protoc-gen-mypy={plugin}"]
    compiler += [f"-I{SOURCE}", f"--python_out={into}", f"--mypy_out=quiet:{into}"]
    subprocess.run([*compiler, *map(str, protos)], check=True)
    return [path.with_name(path.stem + ending) for path in protos for ending in ("_pb2.py", "_pb2.pyi")]


def stale() -> list[Path]:
    """The committed files that differ from what their ``.proto`` file gives."""
    with tempfile.TemporaryDirectory() as folder:
        written = generate(Path(folder))
        return [
            path
            for path in written
            if not (SOURCE / path).exists() or (SOURCE / path).read_bytes() != (Path(folder) / path).read_bytes()
        ]


def main() -> int:
    """Generate, or check."""
    if "--check" not in sys.argv[1:]:
        generate(SOURCE)
        return 0
    for path in (found := stale()):
        print(f"{path} does not match its .proto file: run scripts/generate_protobuf.py")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
