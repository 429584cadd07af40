"""What one instance may give away during an outage, so that the fleet keeps the limit.

Every instance divides the same bucket: rate and burst times a fraction. A burst smaller than the
fleet cannot be divided into whole tokens, so each subject then belongs to as many instances as the
burst has tokens, chosen by rendezvous hashing: 3 per hour over 10 instances stays 3, not 0 or 10.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from .policy import LimitPolicy

_QUIET_BEATS: Final = 3


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a policy's rate, and of its burst, that this instance gives; 0 for nothing."""

    fraction: float


_NOTHING: Final = Share(0.0)


def share_of(
    policy: LimitPolicy, *, size: int | None, own: str, ids: tuple[str, ...], digest: bytes
) -> Share | None:
    """This instance's share for one subject, or None where the fleet is not known well enough.

    Args:
        policy: the limit to divide.
        size: live instances (`FleetSize.size`).
        own: boot id of this instance.
        ids: boot ids of the live instances (`FleetSize.ids`), the same on all of them.
        digest: the subject's digest.
    """
    if size is None:
        return None
    if policy.burst >= size:
        return Share(1 / size)
    if len(ids) < size:
        return None
    return Share(1 / policy.burst) if _owns(policy.burst, own, ids, digest) else _NOTHING


@lru_cache(maxsize=8192)
def _owns(owners: int, own: str, ids: tuple[str, ...], digest: bytes) -> bool:
    ranked = sorted(ids, key=lambda name: _weight(name, digest), reverse=True)
    return own in ranked[:owners]


def _weight(name: str, digest: bytes) -> bytes:
    return blake2b(name.encode(), digest_size=8, key=digest).digest()


class FleetSize:
    """How many instances there are, as far as this one knows.

    An instance that is seen counts at once. One that is missed is dropped only after three
    observations in a row, all over a healthy link: after an outage every row has expired, and the
    first beat sees one instance where there are many.
    """

    def __init__(self, *, expected: int | None = None) -> None:
        """`expected` stands in until anything was observed (`ARAGORA_EXPECTED_INSTANCES`)."""
        self._expected = expected
        self._missed: dict[str, int] = {}
        self.ids: tuple[str, ...] = ()

    @property
    def size(self) -> int | None:
        """Live instances; None where neither an observation nor an expectation tells."""
        return len(self.ids) or self._expected

    def observe(self, ids: Iterable[str], *, healthy: bool) -> None:
        """Take in the presence rows of one beat.

        Args:
            ids: boot ids, with this instance's own.
            healthy: the link carried the beat as it should; otherwise nobody is counted as missed.
        """
        seen = frozenset(ids)
        missed = {
            name: 0 if name in seen or not healthy else beats + 1
            for name, beats in self._missed.items()
        }
        missed.update(dict.fromkeys(seen, 0))
        self._missed = {name: beats for name, beats in missed.items() if beats < _QUIET_BEATS}
        self.ids = tuple(sorted(self._missed))
