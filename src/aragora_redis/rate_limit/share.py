"""What one instance may give away during an outage, so that the fleet keeps the limit.

Every instance divides the same bucket: rate and burst times a fraction. A burst smaller than the
fleet cannot be divided into whole tokens, so each subject then belongs to as many instances as the
burst has tokens, chosen by consistent hashing: 3 per hour over 10 instances stays 3, not 0 or 10.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from .policy import LimitPolicy

_QUIET_BEATS: Final = 3


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a policy's rate, and of its burst, that this instance gives; 0 for nothing."""

    fraction: float


_NOTHING: Final = Share(0.0)


def share_of(policy: LimitPolicy, fleet: FleetSize, *, own: str, digest: bytes) -> Share | None:
    """This instance's share for one subject, or None where the fleet is not known well enough.

    Args:
        policy: the limit to divide.
        fleet: the live instances, the same on all of them.
        own: boot id of this instance.
        digest: the subject's digest.
    """
    size = fleet.size
    if size is None:
        return None
    if policy.burst >= size:
        return Share(1 / size)
    if len(fleet.ids) < size:
        return None
    return Share(1 / policy.burst) if fleet.circle.owns(own, policy.burst, digest) else _NOTHING


class Circle:
    """The instances on a circle, each at its own place; a subject belongs to the next ones on it.

    Whoever leaves moves only what belonged to it. To weigh all instances for each subject, as
    rendezvous hashing does, takes a millisecond where there are a thousand.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        placed = sorted((_place(name.encode()), name) for name in ids)
        self._places = [place for place, _ in placed]
        self._ranks = {name: rank for rank, (_, name) in enumerate(placed)}

    def owns(self, own: str, owners: int, digest: bytes) -> bool:
        """Whether an instance is among so many to whom the subject with this digest belongs."""
        rank = self._ranks.get(own)
        if rank is None:
            return False
        first = bisect(self._places, _place(digest))
        return (rank - first) % len(self._places) < owners


def _place(of: bytes) -> bytes:
    return blake2b(of, digest_size=8).digest()


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
        self._circle: Circle | None = None

    @property
    def size(self) -> int | None:
        """Live instances; None where neither an observation nor an expectation tells."""
        return len(self.ids) or self._expected

    @property
    def circle(self) -> Circle:
        """Who owns what: made when it is asked for, since most of the time nobody asks."""
        if self._circle is None:
            self._circle = Circle(self.ids)
        return self._circle

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
        ids = tuple(sorted(self._missed))
        if ids != self.ids:
            self.ids, self._circle = ids, None
