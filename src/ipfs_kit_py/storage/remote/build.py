"""Remote tiers from their tables in the configuration.

    tiers = build_tiers(config.tiers, TierContext(rng=random.SystemRandom(), folder=repo / "tiers"))

A table's ``type`` names one of our own, or an entry point of the group ``ipfs_kit.tiers`` of another package: a
callable that takes a ``TierSpec`` and a ``TierContext`` and gives a ``RemoteTier``. Nothing is connected to here.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ipfs_kit_py.core.config import API_SECONDS
from ipfs_kit_py.core.errors import ConfigError, LocalError
from ipfs_kit_py.storage.remote.build_spec import TierSpec

if TYPE_CHECKING:
    import random
    import ssl
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from ipfs_kit_py.storage.remote.base import RemoteTier

__all__ = ["GROUP", "OWN", "TierContext", "TierSpec", "build_tier", "build_tiers", "known_types"]

GROUP = "ipfs_kit.tiers"
# The same as in pyproject.toml, for a checkout whose metadata is not installed. Nothing that is installed besides can
# take these names.
OWN = {
    "kubo": "ipfs_kit_py.storage.remote.build_own:kubo",
    "gateway": "ipfs_kit_py.storage.remote.build_own:gateway",
    "pinning": "ipfs_kit_py.storage.remote.build_own:pinning",
    "ipfs_cluster": "ipfs_kit_py.storage.remote.build_own:ipfs_cluster",
    "storacha": "ipfs_kit_py.storage.remote.build_own:storacha",
    "filecoin": "ipfs_kit_py.storage.remote.build_filecoin:make",
}


def _no_origins() -> Sequence[str]:
    return ()


@dataclass(frozen=True, kw_only=True)
class TierContext:
    """What all tiers of a node share. ``folder`` is where they keep what has to last, or goes over the disk on its way;
    without it nothing lasts. ``seconds`` is the default of their timeouts. ``origins`` gives this node's multiaddrs,
    ``connect`` dials others: for services that fetch from us."""

    rng: random.Random
    folder: Path | None = None
    seconds: float = API_SECONDS
    tls: ssl.SSLContext | None = None
    origins: Callable[[], Sequence[str]] = _no_origins
    connect: Callable[[Sequence[str]], Awaitable[object]] | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def folder_of(self, spec: TierSpec) -> Path | None:
        """The folder of one tier, made where it is not there; ``None`` without one."""
        if self.folder is None:
            return None
        path = self.folder / f"{spec.type}-{quote(spec.name, safe='')}"
        path.mkdir(parents=True, exist_ok=True)
        return path


def build_tiers(
    specs: Iterable[Mapping[str, object]], context: TierContext, made: list[RemoteTier] | None = None
) -> list[RemoteTier]:
    """A tier of each table, in their order. ``ConfigError`` says which tier and key is wrong, and for two of one
    name; those before it are in ``made`` then, for the caller to close."""
    tables = list(specs)
    names = [TierSpec(table, context.environment).name for table in tables]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two tiers are called {name!r}: give each [[tiers]] a name of its own")
    tiers = [] if made is None else made
    for table in tables:
        tiers.append(build_tier(table, context))
    return tiers


def build_tier(spec: Mapping[str, object], context: TierContext) -> RemoteTier:
    """The tier of one table. ``ConfigError`` names the tier, the key and what is expected."""
    table = TierSpec(spec, context.environment)
    make = _maker(table)
    try:
        tier: RemoteTier = make(table, context)
        table.finish()
        name = tier.name
    except LocalError as error:
        text = table.hidden(str(error))
        prefix = f"tier {table.name}: "
        raise ConfigError(text if text.startswith(prefix) else prefix + text) from None
    except Exception as error:  # noqa: BLE001 - maybe another package's code, or a folder that cannot be made
        text = table.hidden(f"{type(error).__name__}: {error}")
        raise ConfigError(f"tier {table.name}: it cannot be made: {text}") from None
    if name != table.name:
        raise ConfigError(f"tier {table.name}: what makes tiers of type {table.type!r} gave one called {name!r}")
    return tier


def known_types() -> list[str]:
    """The types that there are: our own, then those of other packages."""
    return [*OWN, *sorted({point.name for point in entry_points(group=GROUP)} - OWN.keys())]


def _maker(spec: TierSpec) -> Callable[[TierSpec, TierContext], Any]:
    if spec.type in OWN:
        module, _, name = OWN[spec.type].partition(":")
        own: Callable[[TierSpec, TierContext], Any] = getattr(importlib.import_module(module), name)
        return own
    # One package may be found twice, by two entries of the search path: the same value is no conflict.
    points = {point.value: point for point in entry_points(group=GROUP, name=spec.type)}
    if not points:
        raise ConfigError(f"tier {spec.name}: there is no type {spec.type!r}; types are: {', '.join(known_types())}")
    if len(points) > 1:
        raise ConfigError(f"tier {spec.name}: several packages have a type {spec.type!r}: {', '.join(points)}")
    value, point = points.popitem()
    try:
        make = point.load()
    except Exception as error:  # noqa: BLE001 - another package's code: whatever it raises, it cannot be used
        raise ConfigError(f"tier {spec.name}: cannot load {value}: {type(error).__name__}: {error}") from None
    if not callable(make):
        raise ConfigError(f"tier {spec.name}: {value} is no callable that makes tiers")
    loaded: Callable[[TierSpec, TierContext], Any] = make
    return loaded
