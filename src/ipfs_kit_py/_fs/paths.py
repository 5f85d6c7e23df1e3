"""The paths of the filesystem, as they are without a protocol. Names are taken literally: nothing is percent-decoded.

====================  ================  ================  =================================================
written               in ``ipfs``       in ``mfs``        is
====================  ================  ================  =================================================
``ipfs://CID/a``      ``CID/a``         ``/ipfs/CID/a``   content, for ever the same
``/ipfs/CID/a``       ``CID/a``         ``/ipfs/CID/a``   likewise
``CID/a``             ``CID/a``         ``/CID/a``        likewise; in ``mfs`` a file of the root
``ipns://NAME/a``     ``/ipns/NAME/a``  ``/ipns/NAME/a``  what the name points to when it is read
``mfs:///a``, ``/a``                    ``/a``            a file of the writable root
====================  ================  ================  =================================================
"""

from __future__ import annotations

IPFS, IPNS = "/ipfs/", "/ipns/"
_ABSOLUTE = {"ipfs://": IPFS, "ipns://": IPNS, "ipfs::": IPFS, "ipns::": IPNS}


def absolute(path: str, default: str) -> str:
    """A path with its namespace, without empty segments; one that has no namespace is put below ``default``."""
    for protocol, namespace in _ABSOLUTE.items():
        if path.startswith(protocol):
            rest = path.removeprefix(protocol)
            path = rest if rest.startswith((IPFS, IPNS)) else f"{namespace}{rest}"
            break
    else:
        if not path.startswith((IPFS, IPNS)):
            path = f"{default}{path}"
    return "/" + "/".join(segment for segment in path.split("/") if segment)


def of_content(path: str) -> str:
    """A path of the read-only view."""
    found = absolute(path, IPFS)
    return "" if found == "/ipfs" else found.removeprefix(IPFS)


def of_root(path: str) -> str:
    """A path of the writable view."""
    return absolute(path.removeprefix("mfs://").removeprefix("mfs::"), "/")


def is_content(path: str) -> bool:
    """Whether an absolute path is of content that never changes."""
    return path.startswith(IPFS)


def url(path: str) -> str:
    """An absolute path with its protocol."""
    for protocol, namespace in (("ipfs", IPFS), ("ipns", IPNS)):
        if path.startswith(namespace):
            return f"{protocol}://{path.removeprefix(namespace)}"
    return f"mfs://{path}"
