"""The verbs on names and keys, in Kubo's shapes."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from ipfs_kit_py.core.config import IPNS_LIFETIME_SECONDS, IPNS_TTL_SECONDS
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.gateway.call import UsageError
from ipfs_kit_py.gateway.verb import JSON, Verb
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from ipfs_kit_py.crypto.keys import PrivateKey
    from ipfs_kit_py.gateway.call import Call

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)")


def _seconds(text: str, default: float) -> float:
    """A duration as Go writes it: ``1h30m``."""
    if not text:
        return default
    if _PART.sub("", text):
        raise UsageError(f"a duration looks like 24h or 5m, not {text!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def _row(name: str, key: PrivateKey) -> dict[str, Any]:
    return {"Name": name, "Id": ipns.name_text(key.peer_id())}


async def _key_gen(call: Call) -> None:
    name, kind = call.argument("name"), call.text("type", "ed25519")
    make = partial(call.node.keystore.generate, name, kind, call.number("size", 2048) or 2048)
    await call.row(_row(name, await threads.run(Pool.WORK, make)))


async def _key_list(call: Call) -> None:
    rows = await threads.run(Pool.WORK, call.node.keystore.all)
    await call.row({"Keys": [_row(name, key) for name, key in rows]})


async def _key_rm(call: Call) -> None:
    names = call.several("name")
    gone = [_row(name, await threads.run(Pool.WORK, call.node.keystore.remove, name)) for name in names]
    await call.row({"Keys": gone})


async def _key_rename(call: Call) -> None:
    if len(call.arguments) != 2:
        raise UsageError("expected the key's name and the new one")
    old, new = call.arguments
    done = await threads.run(Pool.WORK, partial(call.node.keystore.rename, old, new, force=call.flag("force")))
    found = ipns.name_text(done.key.peer_id())
    await call.row({"Was": old, "Now": new, "Id": found, "Overwrite": done.overwrote})


async def _name_publish(call: Call) -> None:
    path = call.argument("path")
    value = path if path.startswith("/") else f"/ipfs/{path}"
    name = await call.node.name_publish(
        value,
        key=call.text("key", "self"),
        lifetime=_seconds(call.text("lifetime"), IPNS_LIFETIME_SECONDS),
        ttl=_seconds(call.text("ttl"), IPNS_TTL_SECONDS),
    )
    await call.row({"Name": ipns.name_text(name), "Value": value})


async def _name_resolve(call: Call) -> None:
    name = call.argument("name") if call.arguments else str(call.node.peer_id)
    await call.row({"Path": await call.node.naming.resolve(name, fresh=call.flag("nocache"))})


NAME_VERBS: dict[str, Verb] = {
    "key/gen": Verb(_key_gen, JSON),
    "key/list": Verb(_key_list, JSON),
    "key/rm": Verb(_key_rm, JSON),
    "key/rename": Verb(_key_rename, JSON),
    "name/publish": Verb(_name_publish, JSON),
    "name/resolve": Verb(_name_resolve, JSON),
}
