"""Which known profile makes a CID from a file's content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.core.cid import CID, DAG_PB, RAW
from ipfs_kit_py.core.errors import HashMismatch
from ipfs_kit_py.dag.builder import build_file
from ipfs_kit_py.dag.profiles import V0_2015, V1_2025, Built

if TYPE_CHECKING:
    from typing_extensions import Buffer

# what is met in the wild: both profiles of IPIP-499, and what Kubo's `--cid-version 1` and Helia have made for years
KNOWN = (
    V1_2025,
    V0_2015,
    V0_2015.replace(cid_version=1, raw_leaves=True),
    V0_2015.replace(raw_leaves=True),
    V0_2015.replace(cid_version=1),
    V1_2025.replace(chunk_size=256 << 10),
    V1_2025.replace(max_links=174),
)


def built_as(cid: CID, data: Buffer) -> Built:
    """The blocks of a file's content as the profile makes them under which its root is ``cid``.

    ``HashMismatch`` with the CID that the content has, where no known profile does.
    """
    first = build_file(data, V1_2025 if cid.version else V0_2015)
    if cid.codec in (RAW, DAG_PB):
        for profile in KNOWN:
            built = build_file(data, profile.replace(hash_code=cid.hash_code) if cid.version else profile)
            if built.cid.multihash == cid.multihash and built.cid.codec == cid.codec:
                return built
    raise HashMismatch(f"the content is not that of {cid}: its CID is {first.cid}", expected=cid, actual=first.cid)
