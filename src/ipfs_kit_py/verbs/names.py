"""The verbs on names and keys, in Kubo's shapes. A secret leaves the node by no verb: ``key export`` reads the repo."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import IPNS_LIFETIME_SECONDS, KEY_FILE_BYTES
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.crypto.keystore import PROTOBUF, SELF
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool
from ipfs_kit_py.verbs.call import UsageError, whole
from ipfs_kit_py.verbs.verb import JSON, Verb

if TYPE_CHECKING:
    from ipfs_kit_py.crypto.keys import PrivateKey
    from ipfs_kit_py.verbs.call import Call

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)")


def _seconds(text: str) -> float | None:
    """A duration as Kubo takes it: ``1h30m``, ``7d``."""
    if not text:
        return None
    if _PART.sub("", text):
        raise UsageError(f"a duration looks like 24h or 5m, not {text!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def _row(name: str, key: PrivateKey) -> dict[str, Any]:
    return {"Name": name, "Id": ipns.name_text(key.peer_id())}


async def _key_gen(call: Call) -> None:
    name, kind = call.argument("name"), call.text("type", "ed25519")
    key = await threads.run(Pool.WORK, partial(call.node.keystore.generate, name, kind, call.number("size")))
    await call.row(_row(name, key))


async def _key_import(call: Call) -> None:
    name, done = call.argument("name"), 0
    async for entry in call.uploads():
        if done:
            raise UsageError("expected one file with one key")
        secret, done = await whole(entry, KEY_FILE_BYTES), 1
        any_type = call.flag("allow-any-key-type")
        key = await call.node.key_import(name, secret, form=call.text("format", PROTOBUF), any_type=any_type)
        await call.row(_row(name, key))


async def _key_list(call: Call) -> None:
    rows = await threads.run(Pool.WORK, call.node.keystore.all)
    await call.row({"Keys": [_row(name, key) for name, key in rows]})


async def _key_rm(call: Call) -> None:
    gone = [_row(name, await call.node.key_remove(name)) for name in call.several("name")]
    await call.row({"Keys": gone})


async def _key_rename(call: Call) -> None:
    if len(call.arguments) != 2:
        raise UsageError("expected the key's name and the new one")
    old, new = call.arguments
    done = await call.node.key_rename(old, new, force=call.flag("force"))
    found = ipns.name_text(done.key.peer_id())
    await call.row({"Was": old, "Now": new, "Id": found, "Overwrite": done.replaced is not None})


async def _name_publish(call: Call) -> None:
    path = call.argument("path")
    value = path if path.startswith("/") else f"/ipfs/{path}"
    if value.startswith("/ipfs/"):
        CID.parse(value.split("/", 3)[2])
    elif not value.startswith("/ipns/"):
        raise UsageError(f"a name points to /ipfs/CID or /ipns/NAME, not to {path!r}")
    lifetime = _seconds(call.text("lifetime"))
    name = await call.node.name_publish(
        value,
        key=call.text("key", SELF),
        lifetime=IPNS_LIFETIME_SECONDS if lifetime is None else lifetime,
        ttl=_seconds(call.text("ttl")),
        v1=call.flag("v1compat", True),
        offline=call.flag("allow-offline"),
    )
    await call.row({"Name": ipns.name_text(name), "Value": value})


async def _name_resolve(call: Call) -> None:
    name = call.argument("name") if call.arguments else str(call.node.peer_id)
    path = await call.node.naming.resolve(name, fresh=call.flag("nocache"), recursive=call.flag("recursive", True))
    await call.row({"Path": path})


NAME_VERBS: dict[str, Verb] = {
    "key/gen": Verb(_key_gen, JSON),
    "key/import": Verb(_key_import, JSON, uploads=True),
    "key/list": Verb(_key_list, JSON),
    "key/rm": Verb(_key_rm, JSON),
    "key/rename": Verb(_key_rename, JSON),
    "name/publish": Verb(_name_publish, JSON),
    "name/resolve": Verb(_name_resolve, JSON),
}
