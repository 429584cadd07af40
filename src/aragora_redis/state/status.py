"""How an instance is, as a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from msgspec import Struct, field

from ..events import DiskTrouble
from ..settings import Mode
from ..topology.statement import Lag

Health = Literal["healthy", "failing-over", "degraded"]


# A dataclass, because pydantic describes it in the HTTP API.
@dataclass(frozen=True, slots=True, kw_only=True)
class OnDisk:
    """What the outbox on disk of an instance holds, and what it does not hold yet.

    Attributes:
        entries: revocations in its file.
        size: bytes that this has.
        waiting: revocations made here that are not in it.
        delay: seconds since the first of those was made; 0 where there is none.
        trouble: what is wrong: revocations stay in memory because the disk is `full`, answers with
            an `error`, or hangs (`hung`); or files of dead instances are `unread`. Why is said
            among the troubles of the status.
    """

    entries: int
    size: int
    waiting: int
    delay: float
    trouble: DiskTrouble | None


# A dataclass, as above.
@dataclass(frozen=True, slots=True, kw_only=True)
class RedisStatus:
    """How one Redis is seen from this instance.

    Attributes:
        features: those whose state is there.
        mode, health, reason, primary, epoch, replicas, instances, sentinels, lag: see `Status`.
    """

    features: tuple[str, ...]
    mode: Mode
    health: Health
    reason: str | None
    primary: str | None
    epoch: int | None
    replicas: int
    instances: int
    sentinels: int | None
    lag: Lag | None

    @property
    def told(self) -> str | None:
        """Why it is not healthy, with whose Redis it is where that is not that of all."""
        if self.reason is None or not self.features:
            return self.reason
        return f"the Redis of {', '.join(self.features)}: {self.reason}"


class Status(Struct, frozen=True, kw_only=True):
    """What `GET /v1/status` answers.

    Attributes:
        health: whether this instance can serve, the worst of all that it needs; redundancy is
            judged by the command `health`.
        reason: why it is not healthy.
        ready: whether tokens can be judged.
        primary: where it writes.
        epoch: the Sentinels' configuration epoch of that.
        replicas: replicas that most Sentinels do not call down.
        instances: instances that live, this one included.
        policies: digest of the policies in force here.
        differing: live instances that go by others.
        sentinels: Sentinels heard in the last seconds.
        tokens: revocations held.
        outbox: own revocations that no primary is known to hold.
        disk: the outbox on disk; None where there is none.
        lag: how far the primary's replicas are behind it; None where none is known.
        staleness: seconds since it was certainly in step with the primary.
        keys_age: seconds since the issuer's keys were fetched; None where none are published.
        in_flight: calls under way here, by circuit.
        lacks: what Redis does not offer of what is used, and what it costs, as sentences.
        troubles: what cannot be reached or used, and why.
        redis: each Redis, where features have one of their own; `mode`, `primary`, `epoch`,
            `replicas`, `sentinels` and `lag` are then that of the features which have none,
            `instances` and `differing` that of the limits.
    """

    mode: Mode
    health: Health
    reason: str | None = None
    ready: bool = False
    primary: str | None = None
    epoch: int | None = None
    replicas: int = 0
    instances: int = 1
    policies: str = ""
    differing: int = 0
    sentinels: int | None = None
    tokens: int = 0
    outbox: int = 0
    disk: OnDisk | None = None
    lag: Lag | None = None
    staleness: float = 0.0
    keys_age: float | None = None
    in_flight: Mapping[str, int] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    troubles: Mapping[str, str] = field(default_factory=dict)
    redis: tuple[RedisStatus, ...] = ()

    @property
    def each_redis(self) -> tuple[RedisStatus, ...]:
        """Each Redis, also where all features have the same."""
        return self.redis or (
            RedisStatus(
                features=(),
                mode=self.mode,
                health=self.health,
                reason=self.reason,
                primary=self.primary,
                epoch=self.epoch,
                replicas=self.replicas,
                instances=self.instances,
                sentinels=self.sentinels,
                lag=self.lag,
            ),
        )


def worst_of(every: Sequence[RedisStatus]) -> RedisStatus:
    """The one that serves least; the first of those."""
    order: tuple[Health, ...] = ("healthy", "failing-over", "degraded")
    return max(every, key=lambda each: order.index(each.health))


def health_of(*, down: str | None, degraded: str | None, replacing: bool) -> Health:
    """Judge an instance that cannot write (`down`) or was refused (`degraded`).

    It fails over while the Sentinels (`replacing`) miss the primary too or are replacing it.
    """
    if down is None and degraded is None:
        return "healthy"
    return "failing-over" if replacing and down is not None else "degraded"
