"""How each verb's answer is printed: Kubo's lines, JSON with ``--json``, bytes as they are; bars on a terminal only."""

from __future__ import annotations

import base64
import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import trio

from ipfs_kit_py.cli.output import say
from ipfs_kit_py.cli.sources import total_size
from ipfs_kit_py.core.errors import LocalError
from ipfs_kit_py.core.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from ipfs_kit_py.cli.bar import Bar
    from ipfs_kit_py.cli.options import Options, Request

_BARS = frozenset({"add", "get", "dag/import"})


class Rendering:
    """Prints one request's answer as it comes. ``failed`` is the error that a row told of at the end, or empty."""

    def __init__(self, options: Options, request: Request, *, quiet: bool, quieter: bool, output: Path | None) -> None:
        self._options = options
        self._request = request
        self._quiet = quiet
        self.quieter = quieter
        self._output = output
        self._last = ""
        self._bar: Bar | None = None
        self.failed = ""

    @property
    def options(self) -> dict[str, str]:
        """The options of the request."""
        return self._request.options

    def __enter__(self) -> Self:
        if self._request.verb in _BARS and sys.stderr.isatty() and not self._options.json:
            total = total_size(self._request) if self._request.verb != "get" else None
            self._bar = import_module("ipfs_kit_py.cli.bar").Bar(self._request.verb, total)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._last and self.quieter:
            say(self._last)
        sys.stdout.flush()

    def read(self, size: int) -> None:
        """So many bytes more were moved."""
        if self._bar is not None:
            self._bar.advance(size)

    async def data(self, data: Buffer) -> None:
        """Write bytes to standard output, whole."""
        sys.stdout.flush()
        await trio.to_thread.run_sync(_write_all, memoryview(data).cast("B"))

    async def row(self, row: dict[str, Any]) -> None:
        """Print one object of the answer."""
        if row.get("Type") == "error" and "Message" in row:
            self.failed = row["Message"]
        elif self._options.json:
            say(json.dumps(row))
        else:
            _LINES.get(self._request.verb, _print_json)(self, row)

    def added(self, row: dict[str, Any]) -> None:
        """A line of ``add``."""
        if "Hash" not in row:
            return
        if self.quieter:
            self._last = row["Hash"]
        elif self._quiet:
            say(row["Hash"])
        else:
            say(f"added {row['Hash']} {printable(row['Name'])}".rstrip())

    def destination(self) -> Path:
        """Where ``get`` writes: ``--output``, or the path's last name here; below it where it is a directory."""
        name = self._request.arguments[0].rstrip("/").rpartition("/")[2]
        chosen = self._output if self._output is not None else Path(name)
        if self._output is not None and chosen.is_dir():
            chosen = chosen / name
        if chosen.name in ("", ".", ".."):
            raise LocalError(f"cannot tell what to call {self._request.arguments[0]}; name a file or folder with -o")
        return chosen


def _write_all(rest: memoryview) -> None:
    descriptor = sys.stdout.fileno()
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _print_json(_rendering: Rendering, row: dict[str, Any]) -> None:
    say(json.dumps(row, indent=2))


def _listing(_rendering: Rendering, row: dict[str, Any]) -> None:
    for item in row["Objects"]:
        for link in item["Links"]:
            slash = "/" if link["Type"] == 1 else ""
            size = "-" if link["Type"] == 1 else link["Size"]
            say(f"{link['Hash']} {size} {printable(link['Name'])}{slash}")


def _block_removed(rendering: Rendering, row: dict[str, Any]) -> None:
    if row.get("Error"):
        rendering.failed = f"cannot remove {row['Hash']}: {row['Error']}"
    else:
        say(f"removed {row['Hash']}")


def _imported(_rendering: Rendering, row: dict[str, Any]) -> None:
    if "Root" in row:
        say(f"pinned root {row['Root']['Cid']['/']}")
    else:
        say(f"imported {row['Stats']['BlockCount']} blocks, {row['Stats']['BlockBytesCount']} bytes")


def _dag_stat(_rendering: Rendering, row: dict[str, Any]) -> None:
    for item in row["DagStats"]:
        say(f"{item['Cid']['/']} {item['Size']} bytes in {item['NumBlocks']} blocks")


def _pins(word: str) -> Callable[[Rendering, dict[str, Any]], None]:
    def line(_rendering: Rendering, row: dict[str, Any]) -> None:
        for cid in row["Pins"]:
            say(f"{word} {cid}")

    return line


def _pin_listing(_rendering: Rendering, row: dict[str, Any]) -> None:
    for cid, pin in row["Keys"].items():
        say(f"{cid} {pin['Type']} {printable(pin.get('Name', ''))}".rstrip())


def _swarm_peers(_rendering: Rendering, row: dict[str, Any]) -> None:
    for peer in row["Peers"] or ():
        say(f"{printable(peer['Addr'])}/p2p/{peer['Peer']} {peer['Latency']}")


def _swarm_addrs(_rendering: Rendering, row: dict[str, Any]) -> None:
    for peer, addresses in row["Addrs"].items():
        say(f"{peer} ({len(addresses)})")
        for address in addresses:
            say(f"\t{printable(address)}")


def _strings(_rendering: Rendering, row: dict[str, Any]) -> None:
    for line in row["Strings"]:
        say(printable(line))


def _moved(_rendering: Rendering, row: dict[str, Any]) -> None:
    say(f"{row['Cid']} {row['Blocks']} blocks, {row['Bytes']} bytes now in {row['Tier']}")


def _replica(_rendering: Rendering, row: dict[str, Any]) -> None:
    safe = "safe" if row["safe"] else "not safe yet"
    error = f" ({row['error']})" if row["error"] else ""
    say(printable(f"{row['tier']} {row['cid']} {row['state']}, {row['replicas']} of {row['wanted']}, {safe}{error}"))


def _tiers(_rendering: Rendering, row: dict[str, Any]) -> None:
    columns = ["tier", "state", "blocks", "bytes", "hits", "misses", "failed", "p50 ms", "p99 ms"]
    rows = [columns, *map(_tier_line, [*row["tiers"], *row["sources"]])]
    widths = [max(len(line[at]) for line in rows) for at in range(len(columns))]
    for line in rows:
        say("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    for copies in row["replicas"]:
        say(
            f"copies at {copies['tier']}: {copies['safe']} safe, {copies['pending']} pending, {copies['failed']} failed"
        )


def _tier_line(tier: dict[str, Any]) -> list[str]:
    counts = (tier.get("blocks", "-"), tier["bytes"], tier["hits"], tier["misses"], tier.get("failures", 0))
    times = ["-" if tier[name] is None else f"{1000 * tier[name]:.2f}" for name in ("p50", "p99")]
    return [printable(tier["name"]), tier["state"], *map(str, counts), *times]


def _key_list(rendering: Rendering, row: dict[str, Any]) -> None:
    long = "l" in rendering.options
    for key in row["Keys"]:
        say(f"{key['Id']} {printable(key['Name'])}" if long else printable(key["Name"]))


def _key_rm(_rendering: Rendering, row: dict[str, Any]) -> None:
    for key in row["Keys"]:
        say(printable(key["Name"]))


def _key_rename(_rendering: Rendering, row: dict[str, Any]) -> None:
    instead = ", instead of the one that had this name" if row["Overwrite"] else ""
    say(f"Key {row['Id']} renamed to {printable(row['Now'])}{instead}")


def _name_published(rendering: Rendering, row: dict[str, Any]) -> None:
    say(row["Name"] if rendering.quieter else f"Published to {row['Name']}: {printable(row['Value'])}")


def _providers(rendering: Rendering, row: dict[str, Any]) -> None:
    for peer in row["Responses"] or ():
        say(peer["ID"])
        for address in peer["Addrs"] if "verbose" in rendering.options else ():
            say(f"\t{printable(address)}")


def _found_peer(_rendering: Rendering, row: dict[str, Any]) -> None:
    for peer in row["Responses"] or ():
        for address in peer["Addrs"]:
            say(printable(address))


def _value(_rendering: Rendering, row: dict[str, Any]) -> None:
    sys.stdout.flush()
    _write_all(memoryview(base64.b64decode(row["Extra"])))


def _files_stat(_rendering: Rendering, row: dict[str, Any]) -> None:
    say(f"{row['Hash']}\nSize: {row['Size']}\nCumulativeSize: {row['CumulativeSize']}")
    say(f"ChildBlocks: {row['Blocks']}\nType: {row['Type']}")


def _files_listing(rendering: Rendering, row: dict[str, Any]) -> None:
    long = rendering.options.get("long") == "true"
    for item in row["Entries"] or ():
        name = printable(item["Name"])
        say(f"{name}{'/' * item['Type']}\t{item['Hash']}\t{item['Size']}" if long else name)


def _silent(_rendering: Rendering, _row: dict[str, Any]) -> None:
    """Kubo prints nothing."""


_LINES: dict[str, Callable[[Rendering, dict[str, Any]], None]] = {
    "add": Rendering.added,
    "ls": _listing,
    "block/put": lambda _, row: say(row["Key"]),
    "block/stat": lambda _, row: say(f"Key: {row['Key']}\nSize: {row['Size']}"),
    "block/rm": _block_removed,
    "dag/put": lambda _, row: say(row["Cid"]["/"]),
    "dag/import": _imported,
    "dag/stat": _dag_stat,
    "files/stat": _files_stat,
    "files/ls": _files_listing,
    "files/flush": lambda _, row: say(row["Cid"]),
    **dict.fromkeys(("files/write", "files/mkdir", "files/cp", "files/mv", "files/rm"), _silent),
    "pin/add": _pins("pinned"),
    "pin/rm": _pins("unpinned"),
    "pin/ls": _pin_listing,
    "swarm/connect": _strings,
    "swarm/disconnect": _strings,
    "swarm/peers": _swarm_peers,
    "swarm/addrs": _swarm_addrs,
    "cache/stat": _tiers,
    "cache/heat": lambda _, row: say(f"{row['Heat']:.4f} {row['Cid']}"),
    "cache/promote": _moved,
    "cache/demote": _moved,
    "cache/replicate": _replica,
    "cache/replicas": _replica,
    "cache/verify": lambda _, row: say(printable(row["Msg"])),
    "cache/gc": lambda _, row: say(f"evicted {row['Blocks']} blocks, {row['Bytes']} bytes"),
    "key/gen": lambda _, row: say(row["Id"]),
    "key/import": lambda _, row: say(row["Id"]),
    "key/list": _key_list,
    "key/rm": _key_rm,
    "key/rename": _key_rename,
    "name/publish": _name_published,
    "name/resolve": lambda _, row: say(printable(row["Path"])),
    "routing/findprovs": _providers,
    "routing/findpeer": _found_peer,
    "routing/get": _value,
    "routing/put": lambda _, _row: None,
    "repo/gc": lambda _, row: say(f"removed {row['Key']['/']}"),
    "repo/verify": lambda _, row: say(printable(row["Msg"])),
}
