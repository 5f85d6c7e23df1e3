"""Commands that need no node: init, config, version, key export."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from ipfs_kit_py import __version__
from ipfs_kit_py.cli.output import failing, say
from ipfs_kit_py.core.text import printable
from ipfs_kit_py.crypto.key_file import load_or_create
from ipfs_kit_py.crypto.keystore import PEM, Keystore
from ipfs_kit_py.repo import Repo, default_path

if TYPE_CHECKING:
    from ipfs_kit_py.cli.options import Options


def init(options: Options) -> int:
    """Make the repo and say what to do next."""
    with failing() as outcome:
        repo = Repo(options.repo or default_path())
        existed = repo.exists
        repo.ensure()
        if options.role:
            repo.set("role", options.role)
        key = load_or_create(repo.config().identity_path or repo.identity_path)
        if options.json:
            say(json.dumps({"ID": str(key.peer_id()), "Repo": str(repo.path), "Created": not existed}))
        else:
            say(f"{'repo was there already' if existed else 'made a repo'}: {repo.path}")
            for name, what in _PARTS:
                say(f"  {name:12} {what}")
            say(f"peer id: {key.peer_id()}")
            say(f"role: {repo.config().role}; it keeps up to {repo.config().role_policy.storage_max / 1e9:.0f} GB")
            for command, what in _NEXT:
                say(f"  {command:44} {what}")
    return outcome.code


_PARTS = (
    ("config.toml", "settings; `ipfs-kit config` shows and changes them"),
    ("identity", "the secret key that peers know this node by; whoever has it is this node"),
    ("blocks", "what was added, pinned and cached, made when there is something"),
)
_NEXT = (
    ("ipfs-kit add FILE", "prints the CID of a file, and keeps it"),
    ("ipfs-kit --peer MULTIADDR get CID", "fetches from that peer"),
    ("ipfs-kit daemon", "serves others, until it is stopped"),
    ("ipfs-kit doctor", "looks whether this machine has what a node needs"),
    ("ipfs-kit --install-completion", "has the shell complete commands and options"),
)


def config(options: Options, name: str | None, value: str | None, unset: bool) -> int:
    """Show all settings or one, or change one."""
    with failing() as outcome:
        repo = Repo(options.repo or default_path())
        if name is None:
            say(json.dumps(repo.settings(), indent=None if options.json else 2))
        elif unset:
            repo.set(name, None)
        elif value is None:
            found = repo.settings()
            if name not in found:
                found = repo.config().to_dict()
            if name not in found:
                repo.set(name, None)  # names the settings that there are
            say(json.dumps(found[name], default=str))
        else:
            repo.ensure()
            repo.set(name, _value(value))
    return outcome.code


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def version(options: Options) -> int:
    """Print the version."""
    if options.json:
        say(json.dumps({"Version": __version__, "Python": platform.python_version()}))
    else:
        say(f"ipfs-kit {__version__}")
    return 0


def key_export(options: Options, name: str, output: Path | None, form: str) -> int:
    """Write a key's secret to a new file that its owner alone can read. It goes through no daemon."""
    with failing() as outcome:
        repo = Repo(options.repo or default_path())
        repo.ensure()
        identity = load_or_create(repo.config().identity_path or repo.identity_path)
        secret = Keystore(repo.path / "keystore", identity).export(name, form)
        path = output if output is not None else Path(f"{name}.{'pem' if form == PEM else 'key'}")
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret)
        told = f"wrote the key {name} to {path}"
        say(json.dumps({"Name": name, "Path": str(path)}) if options.json else printable(told))
    return outcome.code
