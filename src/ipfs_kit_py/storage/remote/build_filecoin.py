"""The table of a Filecoin tier: a table for each of its parts, all optional."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import PIECE_MAX_BYTES, PIECE_MIN_BYTES
from ipfs_kit_py.core.errors import ConfigError
from ipfs_kit_py.storage.remote import build_own
from ipfs_kit_py.storage.remote.build_records import KeptDataSet, RootFiles
from ipfs_kit_py.storage.remote.filecoin.chain import Chain
from ipfs_kit_py.storage.remote.filecoin.pdp import PdpApi
from ipfs_kit_py.storage.remote.filecoin.pdp_store import Deposit, PdpStore, Terms
from ipfs_kit_py.storage.remote.filecoin.pieces import PieceSource
from ipfs_kit_py.storage.remote.filecoin.tier import FilecoinTier
from ipfs_kit_py.storage.remote.filecoin.warm_storage import ChainKey, WarmStorage

if TYPE_CHECKING:
    from pathlib import Path

    from ipfs_kit_py.storage.remote.build import TierContext, TierSpec
    from ipfs_kit_py.storage.remote.filecoin.pinning import PinningTier


def make(spec: TierSpec, context: TierContext) -> FilecoinTier:
    """``gateway``, as of a gateway tier; ``pieces``, a list of providers' URLs; ``pdp`` or ``pinning``; ``chain``."""
    parts = {key: spec.table(key) for key in ("gateway", "pdp", "pinning", "chain")}
    providers = spec.texts("pieces", ())
    if not providers and not any(parts.values()):
        raise ConfigError("a Filecoin tier needs one of the tables gateway, pdp, pinning, chain, or a list pieces")
    if parts["pdp"] and parts["pinning"]:
        raise spec.wrong("pinning", "cannot be there besides pdp: a DAG is stored by one of them")
    folder = context.folder_of(spec)
    seconds = spec.number("seconds", context.seconds)
    inner = replace(context, seconds=seconds)
    return FilecoinTier(
        gateway=None if parts["gateway"] is None else build_own.gateway(parts["gateway"], inner),
        sources=[PieceSource(url, rng=context.rng, seconds=seconds, tls=context.tls) for url in providers],
        store=_store(parts["pdp"], parts["pinning"], inner, folder),
        chain=None if parts["chain"] is None else _chain(parts["chain"], inner),
        deposits=None if folder is None else RootFiles(folder / "deposits", Deposit.to_json, Deposit.from_json),
        folder=folder,
        name=spec.name,
    )


def _store(
    pdp: TierSpec | None, pinning: TierSpec | None, context: TierContext, folder: Path | None
) -> PdpStore | PinningTier | None:
    if pdp is not None:
        return _pdp(pdp, context, folder)
    return None if pinning is None else build_own.pinning(pinning, context)


def _pdp(spec: TierSpec, context: TierContext, folder: Path | None) -> PdpStore:
    """``endpoint``; ``token``; ``record_keeper``, ``payee``, ``metadata``; ``key`` with ``contract`` and ``chain``,
    ``payer``; ``piece_bytes``, ``wait``."""
    api = PdpApi(
        spec.text("endpoint"),
        rng=context.rng,
        token=spec.text("token", ""),
        seconds=spec.number("seconds", context.seconds),
        tls=context.tls,
    )
    return PdpStore(
        api,
        _terms(spec),
        data_set=None if folder is None else KeptDataSet.at(folder / "data_set.json"),
        piece_bytes=spec.count("piece_bytes", PIECE_MAX_BYTES, least=PIECE_MIN_BYTES, most=PIECE_MAX_BYTES),
        folder=folder,
        wait=spec.number("wait", 300.0),
    )


def _terms(spec: TierSpec) -> Terms | None:
    key, contract, payer = spec.text("key", None), spec.text("contract", None), spec.text("payer", "")
    chain = spec.count("chain", None, least=1)
    keeper, payee = spec.text("record_keeper", contract), spec.text("payee", "")
    metadata = spec.pairs("metadata") if "metadata" in spec else {"withIPFSIndexing": ""}
    if keeper is None:
        if key is not None:
            raise spec.wrong("contract", "is missing: it is the address of the contract that the key signs for")
        return None
    if key is None:
        return Terms(keeper, payee, metadata=metadata)
    if contract is None or chain is None:
        missing = "contract" if contract is None else "chain"
        raise spec.wrong(missing, "is missing: a key signs for a contract on a chain, given by its number")
    return Terms(keeper, payee, WarmStorage(ChainKey(key), contract, chain, payer), metadata)


def _chain(spec: TierSpec, context: TierContext) -> Chain:
    """``endpoint``, ``token``."""
    return Chain(
        spec.text("endpoint"),
        rng=context.rng,
        token=spec.text("token", ""),
        seconds=spec.number("seconds", context.seconds),
        tls=context.tls,
    )
