"""What a node of each role does, as one table. Nothing else in the package asks for a role's name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Role:
    """The policy of one role. Times in seconds, sizes in bytes.

    ``low_water``/``high_water``/``grace``: above the high mark connections older than the grace period are trimmed to
    the low mark. ``dht_mode`` is ``server`` or ``client`` of the public DHT; ``provide`` is what the DHT is told that
    we have: ``all`` that is pinned, its ``roots``, ``none``. ``relay_service`` is what the role offers once that runs.
    """

    name: str
    low_water: int
    high_water: int
    grace: float
    dht_mode: str
    relay_service: str
    discovery: tuple[str, ...]
    discovery_interval: float
    replication: int
    prefetch: bool
    provide: str
    keeps_provider_records: bool
    storage_max: int
    memory_cache: int
    task_role: str
    idle_seconds: float
    batches_when_idle: bool


_GIB = 1 << 30
_MIB = 1 << 20

ROLES: dict[str, Role] = {
    "master": Role(
        name="master", low_water=100, high_water=400, grace=30.0, dht_mode="server", relay_service="yes",
        discovery=("bootstrap", "mdns", "dht", "pubsub", "random-walk"), discovery_interval=60.0, replication=3,
        prefetch=True, provide="all", keeps_provider_records=True, storage_max=100 * _GIB, memory_cache=512 * _MIB,
        task_role="coordinator", idle_seconds=600.0, batches_when_idle=False,
    ),
    "worker": Role(
        name="worker", low_water=50, high_water=200, grace=20.0, dht_mode="server", relay_service="if-public",
        discovery=("bootstrap", "mdns", "dht", "pubsub"), discovery_interval=180.0, replication=2,
        prefetch=True, provide="roots", keeps_provider_records=True, storage_max=20 * _GIB, memory_cache=128 * _MIB,
        task_role="worker", idle_seconds=300.0, batches_when_idle=False,
    ),
    "leecher": Role(
        name="leecher", low_water=20, high_water=100, grace=10.0, dht_mode="client", relay_service="no",
        discovery=("bootstrap", "mdns"), discovery_interval=600.0, replication=1,
        prefetch=False, provide="none", keeps_provider_records=False, storage_max=10 * _GIB, memory_cache=64 * _MIB,
        task_role="none", idle_seconds=60.0, batches_when_idle=True,
    ),
}  # fmt: skip
