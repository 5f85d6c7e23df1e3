"""Whether a UCAN gives a right: by whom it is signed, until when, and the chain from it to who owns the resource.

Source: ucan-wg/spec 0.9 sections 5 and 6; storacha/ucanto packages/validator; storacha/specs w3-session (attestations).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import UCAN_MAX_CHAIN
from ipfs_kit_py.storage.remote.storacha.did import Unauthorized

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ipfs_kit_py.storage.remote.storacha.ucan import Capability, Delegation

_REASONS = 3  # told in one error


@dataclass(frozen=True)
class Trust:
    """What is known beforehand. ``keys``: the ``did:key`` behind DIDs of other methods. ``attestor``: whose word
    (``ucan/attest``) stands for the signature of an issuer without a key, such as an account by e-mail."""

    keys: Mapping[str, str] = field(default_factory=dict)
    attestor: str | None = None

    def check(self, delegation: Delegation, siblings: Sequence[Delegation], now: float | None) -> None:
        """``Unauthorized`` unless a UCAN is valid now and signed by its issuer, or attested among its ``siblings``."""
        delegation.ucan.check_time(now)
        issuer = delegation.ucan.issuer
        if issuer.startswith("did:key:") or issuer in self.keys:
            delegation.ucan.check(self.keys, now)
        elif not any(self._attests(other, delegation, now) for other in siblings):
            raise Unauthorized(f"{issuer} has no key that is known here, and nobody trusted attests {delegation.cid}")

    def _attests(self, other: Delegation, delegation: Delegation, now: float | None) -> bool:
        if self.attestor is None or other.ucan.issuer != self.attestor:
            return False
        said = any(
            item.can == "ucan/attest" and item.on == self.attestor and item.nb.get("proof") == delegation.cid
            for item in other.ucan.capabilities
        )
        if not said:
            return False
        try:
            other.ucan.check(self.keys, now)
        except Unauthorized:
            return False
        return True


def authorise(
    delegation: Delegation,
    right: Capability,
    trust: Trust,
    now: float | None,
    siblings: Sequence[Delegation] = (),
) -> None:
    """``Unauthorized`` unless ``delegation`` gives or claims ``right`` and its issuer has it: as the resource's owner,
    or by a chain of its proofs each of which covers it, all valid at ``now`` (``None``: at any time). At most
    ``UCAN_MAX_CHAIN`` UCANs are looked at."""
    if not any(item.covers(right) for item in delegation.ucan.capabilities):
        raise Unauthorized(f"the delegation {delegation.cid} does not give {right.can} on {right.on}")
    trust.check(delegation, siblings, now)
    reasons: list[str] = []
    waiting = deque([delegation])
    seen = {delegation.cid}
    while waiting:
        item = waiting.popleft()
        if item.ucan.issuer == right.on:
            return
        proofs = item.proofs()
        for proof in proofs:
            if proof.cid in seen:
                continue
            seen.add(proof.cid)
            if len(seen) > UCAN_MAX_CHAIN:
                raise Unauthorized(f"a chain of more than {UCAN_MAX_CHAIN} delegations for {right.can}")
            if (reason := _flaw(proof, item, right, trust, now, proofs)) is None:
                waiting.append(proof)
            else:
                reasons.append(reason)
    why = "; ".join(reasons[:_REASONS]) or "no proof leads to the owner"
    raise Unauthorized(f"{delegation.ucan.issuer} has no right to {right.can} on {right.on}: {why}")


def _flaw(
    proof: Delegation,
    of: Delegation,
    right: Capability,
    trust: Trust,
    now: float | None,
    siblings: Sequence[Delegation],
) -> str | None:
    """Why a proof does not give the issuer of ``of`` the right, ``None`` where it does if its own issuer has it."""
    if proof.ucan.audience != of.ucan.issuer:
        return f"{proof.cid} is for {proof.ucan.audience}"
    if not any(item.covers(right) for item in proof.ucan.capabilities):
        return f"{proof.cid} does not give it"
    try:
        trust.check(proof, siblings, now)
    except Unauthorized as error:
        return str(error)
    return None
