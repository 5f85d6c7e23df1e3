"""The tables of our own types of tiers: which keys they have, and what is made from them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import libipld

from ipfs_kit_py.core.config import API_MAX_CONNECTIONS, CLUSTER_MAX_PEERS, STORACHA_SHARD_BYTES
from ipfs_kit_py.core.errors import ConfigError, InvalidBlock
from ipfs_kit_py.crypto.keys import ED25519, PrivateKey
from ipfs_kit_py.storage.remote.build_records import RootFiles
from ipfs_kit_py.storage.remote.cluster.answers import EVERYWHERE, PinOptions
from ipfs_kit_py.storage.remote.cluster.api import ClusterApi
from ipfs_kit_py.storage.remote.cluster.tier import ClusterTier
from ipfs_kit_py.storage.remote.filecoin.pinning import PinningTier
from ipfs_kit_py.storage.remote.gateway.tier import GatewayTier, configured_gateways
from ipfs_kit_py.storage.remote.kubo.tier import KuboTier
from ipfs_kit_py.storage.remote.storacha.tier import StorachaTier
from ipfs_kit_py.storage.remote.storacha.ucan import parse_proof
from ipfs_kit_py.storage.remote.storacha.uploads import Upload

if TYPE_CHECKING:
    from ipfs_kit_py.storage.remote.base import RemoteTier
    from ipfs_kit_py.storage.remote.build import TierContext, TierSpec

_SECRET_HEAD, _PUBLIC_HEAD = b"\x80\x26", b"\xed\x01"  # multicodecs of an Ed25519 secret and public key


def login(spec: TierSpec) -> tuple[str, str] | None:
    """``user`` and ``password``: both or neither."""
    user, password = spec.text("user", None), spec.text("password", None)
    if (user is None) != (password is None):
        raise spec.wrong("password" if password is None else "user", "is missing: user and password go together")
    return None if user is None or password is None else (user, password)


def kubo(spec: TierSpec, context: TierContext) -> KuboTier:
    """``endpoint``; ``token``, or ``user`` and ``password``; ``offline``, ``seconds``, ``connections``."""
    return KuboTier(
        spec.text("endpoint"),
        rng=context.rng,
        name=spec.name,
        offline=spec.flag("offline", False),
        token=spec.text("token", ""),
        login=login(spec),
        seconds=spec.number("seconds", context.seconds),
        tls=context.tls,
        connections=spec.count("connections", API_MAX_CONNECTIONS, least=1, most=256),
    )


def gateway(spec: TierSpec, context: TierContext) -> GatewayTier:
    """``urls``, without them those that the user of this machine prefers; ``tokens``, a table by URL; ``seconds``."""
    urls = spec.texts("urls", None)
    if urls is None:
        urls = configured_gateways(context.environment)
        if not urls:
            raise spec.wrong("urls", "is missing, and neither $IPFS_GATEWAY nor a gateway file names one")
    return GatewayTier(
        urls,
        rng=context.rng,
        name=spec.name,
        tokens=spec.pairs("tokens"),
        seconds=spec.number("seconds", context.seconds),
        tls=context.tls,
    )


def pinning(spec: TierSpec, context: TierContext) -> PinningTier:
    """``endpoint``; ``token``, ``meta``, a table; ``wait`` and ``seconds``."""
    return PinningTier(
        spec.text("endpoint"),
        token=spec.text("token", ""),
        rng=context.rng,
        name=spec.name,
        origins=context.origins,
        connect=context.connect,
        meta=spec.pairs("meta"),
        wait=spec.number("wait", 60.0),
        seconds=spec.number("seconds", context.seconds),
        tls=context.tls,
    )


def ipfs_cluster(spec: TierSpec, context: TierContext) -> ClusterTier:
    """``endpoint``; ``token``, or ``user`` and ``password``, sent each time or (``jwt``) once for a token;
    ``replication_min`` and ``_max``, ``expire`` in seconds, ``meta``, a table; ``wait``, ``seconds``; what blocks are
    read from: ``proxy``, a URL, or the table ``kubo`` or ``gateway``."""
    least = spec.count("replication_min", 0, least=EVERYWHERE, most=CLUSTER_MAX_PEERS)
    options = PinOptions(
        least=least,
        most=spec.count("replication_max", least, least=EVERYWHERE, most=CLUSTER_MAX_PEERS),
        expires=spec.count("expire", 0, most=1 << 33),
        meta=tuple(spec.pairs("meta").items()),
    )
    seconds = spec.number("seconds", context.seconds)
    api = ClusterApi(
        spec.text("endpoint"),
        rng=context.rng,
        token=spec.text("token", ""),
        login=login(spec),
        jwt=spec.flag("jwt", False),
        seconds=seconds,
        tls=context.tls,
    )
    reader = _reader(spec, replace(context, seconds=seconds))
    wait = spec.number("wait", 60.0)
    return ClusterTier(api, rng=context.rng, name=spec.name, options=options, reader=reader, wait=wait)


def _reader(spec: TierSpec, context: TierContext) -> RemoteTier | None:
    """What a cluster's blocks are read from."""
    proxy, daemon, gateways = spec.text("proxy", None), spec.table("kubo"), spec.table("gateway")
    if sum(one is not None for one in (proxy, daemon, gateways)) > 1:
        raise ConfigError("blocks are read from one of proxy, kubo and gateway")
    if proxy is not None:  # it asks for no password, and passes the calls that read to the Kubo behind it
        return KuboTier(proxy, rng=context.rng, name=spec.name, seconds=context.seconds, tls=context.tls)
    if daemon is not None:
        return kubo(daemon, context)
    return None if gateways is None else gateway(gateways, context)


def storacha(spec: TierSpec, context: TierContext) -> StorachaTier:
    """``endpoint``, ``service``, ``agent``, ``proofs``; ``service_key``, ``space``, ``receipts``, ``claims``,
    ``hosts``, ``shard_bytes``, ``wait``, ``seconds``. ``agent`` is an Ed25519 secret key in the text form that begins
    with ``Mg``, ``proofs`` are delegations as texts."""
    try:
        proofs = [parse_proof(text) for text in spec.texts("proofs")]
    except InvalidBlock as error:
        raise spec.wrong("proofs", f"has one that cannot be read: {error}") from None
    hosts: tuple[str, ...] | None = spec.texts("hosts", None)
    folder = context.folder_of(spec)
    return StorachaTier(
        spec.text("endpoint"),
        service=spec.text("service"),
        agent=agent_key(spec, "agent"),
        proofs=proofs,
        service_key=spec.text("service_key", None),
        space=spec.text("space", None),
        receipts=spec.text("receipts", None),
        claims=spec.text("claims", None),
        hosts=hosts,
        uploads=None if folder is None else RootFiles(folder / "uploads", _upload_text, _upload),
        folder=folder,
        shard_bytes=spec.count("shard_bytes", STORACHA_SHARD_BYTES, least=1 << 20),
        seconds=spec.number("seconds", context.seconds),
        wait=spec.number("wait", context.seconds),
        rng=context.rng,
        tls=context.tls,
        name=spec.name,
    )


def agent_key(spec: TierSpec, key: str) -> PrivateKey:
    """An Ed25519 key pair as the service's command line writes it: multibase of secret and public key."""
    try:
        raw = bytes(libipld.decode_multibase(spec.text(key))[1])
    except ValueError:
        raw = b""
    secret, public = raw[2:34], raw[36:]
    if raw[:2] != _SECRET_HEAD or raw[34:36] != _PUBLIC_HEAD or len(public) != 32:
        raise spec.wrong(key, "must be an Ed25519 secret key in multibase, a text that begins with Mg")
    try:
        return PrivateKey.decode(bytes([8, ED25519, 18, 64]) + secret + public)
    except ConfigError:
        raise spec.wrong(key, "has a public key that is not that of its secret key") from None


def _upload_text(upload: Upload) -> str:
    return json.dumps(upload.to_json())


def _upload(text: str) -> Upload:
    try:
        value: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigError("what is remembered of an upload is no JSON") from None
    return Upload.from_json(value)
