"""Pages of the documentation that are made from the code: commands, settings, verbs."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import typer.main

from ipfs_kit_py.cli.main import app
from ipfs_kit_py.core.config import NodeConfig
from ipfs_kit_py.core.roles import ROLES
from ipfs_kit_py.verbs.table import VERBS

SETTINGS = {
    "repo": "the folder; `--repo`, `$IPFS_KIT_PATH`, not a setting of the file",
    "role": "`master`, `worker` or `leecher`: what is not set below is as the role has it",
    "listen": "multiaddrs to listen on; `/ip4/0.0.0.0/tcp/4001` for all networks",
    "announce": "multiaddrs to tell peers besides, where a router forwards a port",
    "peers": 'multiaddrs with `/p2p/ID`, dialled and dialled again; or a preset: `"well-known"`',
    "bootstrap": "likewise, or `/dnsaddr` names: where others are first heard of, dialled while there are too few",
    "mdns": "whether peers are looked for on the networks that it listens on, loopback aside",
    "dht_mode": "`server` or `client` of the public DHT, `off` for none at all",
    "dht_paths": "disjoint paths of a lookup, 1 to 8: against peers that surround a key",
    "provide": "what the DHT is told that is here: `all` that is pinned, its `roots`, `none`",
    "identity_path": "file of the secret key; `identity` of the repo where it is not set",
    "offline": "fetch from nobody",
    "storage_max": "bytes of the disk",
    "memory_cache": "bytes of the memory tier",
    "prefetch": "whether blocks are fetched ahead",
    "replication": "in how many places, this node among them, a pin is to be",
    "profile": "how files are cut: `unixfs-v1-2025`, `unixfs-v0-2015`",
    "allow": 'peer ids or networks (`"10.0.0.0/8"`); all others are refused where there are any',
    "deny": "peer ids or networks that are refused",
    "low_water": "connections that are left when there were more than `high_water`",
    "high_water": "connections above which the least valuable are closed",
    "grace": "seconds for which a new connection is not closed",
    "agent": "what peers are told that this is",
    "shared_memory": "whether the memory tier is in `/dev/shm`, for other processes to read in place",
    "libp2p": "whether there is a network; without it the tiers alone are asked",
    "tiers": "tables of remote tiers, `[[tiers]]`; see [Tiers](../tiers.md)",
}
OF_ROLE = {
    "low_water": "low_water", "high_water": "high_water", "grace": "grace", "storage_max": "storage_max",
    "memory_cache": "memory_cache", "prefetch": "prefetch", "replication": "replication", "dht_mode": "dht_mode",
    "provide": "provide",
}  # fmt: skip


def commands() -> str:
    """Every command with its arguments and options, as ``--help`` has them."""
    root = typer.main.get_command(app)
    lines = ["# Commands", "", "`ipfs-kit [OPTIONS] COMMAND`; the options before the command:", "", *_options(root)]
    for name, command in sorted(root.commands.items()):  # type: ignore[attr-defined]
        lines += ["", f"## {name}", "", command.help or "", ""]
        below = getattr(command, "commands", None)
        if below is None:
            lines += _command(f"ipfs-kit {name}", command)
        for inner, one in sorted((below or {}).items()):
            lines += ["", f"### {name} {inner}", "", one.help or "", "", *_command(f"ipfs-kit {name} {inner}", one)]
    return "\n".join(lines) + "\n"


def _command(path: str, command: Any) -> list[str]:
    arguments = [_argument(item) for item in command.params if item.param_type_name == "argument"]
    return ["```", " ".join([path, *arguments]), "```", "", *_options(command)]


def _argument(item: Any) -> str:
    text = (item.name or "").upper() + ("…" if item.nargs == -1 else "")
    return text if item.required else f"[{text}]"


def _options(command: Any) -> list[str]:
    rows = [
        (", ".join(f"`{name}`" for name in [*item.opts, *item.secondary_opts]), _cell(getattr(item, "help", None)))
        for item in command.params
        if item.param_type_name == "option" and item.name != "help"
    ]
    arguments = [
        (f"`{(item.name or '').upper()}`", _cell(getattr(item, "help", None)))
        for item in command.params
        if item.param_type_name == "argument"
    ]
    if not rows and not arguments:
        return []
    return ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in [*arguments, *rows])]


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").replace("\n", " ")


def configuration() -> str:
    """Every field of ``NodeConfig``; ``KeyError`` for one that is not described here."""
    lines = [
        "# Settings", "",
        "In `config.toml` of a repo (`ipfs-kit config NAME VALUE`), as `NodeConfig(…)`, or as `resources` of "
        "`ipfs_kit`. Sizes are bytes, times seconds. `api`, in the file alone, is the `HOST:PORT` of the daemon's RPC "
        "on loopback.",
        "", "| name | type | default | |", "|---|---|---|---|",
    ]  # fmt: skip
    for item in fields(NodeConfig):
        default = "by role" if item.name in OF_ROLE else repr(item.default)
        kind = str(item.type).replace("|", "or")
        lines.append(f"| `{item.name}` | `{kind}` | `{_cell(default)}` | {_cell(SETTINGS[item.name])} |")
    lines += ["", "## By role", "", "| | " + " | ".join(ROLES) + " |", "|---" * (len(ROLES) + 1) + "|"]
    for name, field in OF_ROLE.items():
        lines.append(f"| `{name}` | " + " | ".join(str(getattr(role, field)) for role in ROLES.values()) + " |")
    lines += ["", inspect.cleandoc(NodeConfig.__doc__ or "").replace("``", "`")]
    return "\n".join(lines) + "\n"


def verbs() -> str:
    """The verbs of the daemon's RPC."""
    lines = [
        "# The daemon's RPC", "",
        "`POST http://HOST:PORT/api/v0/VERB?arg=…&option=…` on loopback, in Kubo's words and shapes; files are sent as "
        '`multipart/form-data`. Errors are `{"Message", "Code", "Type"}` with status 500, 400 for wrong usage; once an '
        "answer has begun, rows end with such an object and bytes are cut off. A request with an `Origin` or `Host` "
        "that is not this machine is refused. Options are those of the [command](cli.md) of the same name.",
        "", "| verb | answers | takes files |", "|---|---|---|",
    ]  # fmt: skip
    answers = {"json": "one JSON object", "rows": "a JSON object a line", "bytes": "bytes"}
    for name, verb in sorted(VERBS.items()):
        lines.append(f"| `{name}` | {answers[verb.answers]} | {'yes' if verb.uploads else ''} |")
    return "\n".join(lines) + "\n"
