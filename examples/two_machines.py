"""A file from one machine to another.

On the first:   python two_machines.py share FILE [--listen /ip4/0.0.0.0/tcp/4001]
On the second:  python two_machines.py fetch ADDRESS CID OUTPUT        (the first prints this line)

Whoever is told the address can fetch: content is served to every peer that asks for its CID.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ipfs_kit_py.core.errors import IPFSKitError
from ipfs_kit_py.ipfs_kit import ipfs_kit


def share(file: Path, listen: str) -> None:
    """Add a file and serve it until the standard input ends or Ctrl-C is typed."""
    with ipfs_kit({"repo": None, "libp2p": True, "listen": [listen]}) as kit:
        cid = kit.ipfs_add(file)["Hash"]
        for address in kit.ipfs_id()["Addresses"]:
            print(f"python two_machines.py fetch {address} {cid} {file.name}", flush=True)
        sys.stdin.read()


def fetch(address: str, cid: str, output: Path) -> None:
    """Fetch a file from that peer."""
    with ipfs_kit({"repo": None, "libp2p": True}) as kit:
        kit.ipfs_swarm_connect(address)
        kit.ipfs_get(cid, output, timeout=60)
        print(f"{output}: {output.stat().st_size:,} bytes, verified against {cid}")


def main() -> int:
    """Parse and run; 1 with one line where it fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    first = commands.add_parser("share")
    first.add_argument("file", type=Path)
    first.add_argument("--listen", default="/ip4/127.0.0.1/tcp/0")
    first.set_defaults(run=lambda given: share(given.file, given.listen))
    second = commands.add_parser("fetch")
    second.add_argument("address")
    second.add_argument("cid")
    second.add_argument("output", type=Path)
    second.set_defaults(run=lambda given: fetch(given.address, given.cid, given.output))
    given = parser.parse_args()
    try:
        given.run(given)
    except IPFSKitError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
