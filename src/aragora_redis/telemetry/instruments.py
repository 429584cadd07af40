"""Every metric: its name, unit, labels and meaning. What exports them reads this list. Pure.

Names and units follow the Prometheus documentation, "Metric and label naming". Values of labels are
bounded: policies are those of the file, circuits as many as an instance follows, all others are
words of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ..state.circuits.circuits import CIRCUITS
from ..state.status import RedisStatus, Status

PREFIX = "aragora_redis_"


class Kind(StrEnum):
    """How a metric is read."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, eq=False)
class Instrument:
    """One metric.

    Attributes:
        name: without the prefix; Prometheus adds `_total` to a counter.
        unit: what it counts or measures.
        labels: each with the values that it can have.
        buckets: upper bounds, of a histogram.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    labels: tuple[tuple[str, str], ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of its labels, in order."""
        return tuple(name for name, _ in self.labels)


_SOURCE = (
    "source",
    (
        "`redis`, `deny-cache` (a refusal that is known here), `lease`, `local`, or `unavailable` "
        "(fail-closed, and nobody could decide)"
    ),
)
_LANE = ("lane", "`fast`, `bulk`, `durable`")
ALL = "all"
"""Stands for the features where none has a Redis of its own."""
OTHERS = "(others)"
"""Stands for circuits past those that are told apart; it can be no circuit's name."""
_FEATURES = (
    "features",
    f"`{ALL}`; where features have a Redis of their own whose it is, such as `tokens,sessions`",
)
_CIRCUIT = ("circuit", f"its name, or `{OTHERS}` past the first {CIRCUITS}")
_FAILOVER_BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)

DECISIONS = Instrument(
    "decisions",
    Kind.COUNTER,
    "decisions",
    "Rate limits decided.",
    (
        ("policy", "of the policies file"),
        (
            "allowed",
            "`true`, `false`, or `shadow` (let through by a limit in shadow mode)",
        ),
        _SOURCE,
    ),
)
DEADLINE_MISSED = Instrument(
    "deadline_missed",
    Kind.COUNTER,
    "operations",
    "Operations given up at their deadline.",
    (_LANE, ("sent", "`true` (it may have run), `false`")),
)
REVOCATIONS = Instrument(
    "revocations",
    Kind.COUNTER,
    "revocations",
    "Revocations made here, by the level they reached.",
    (
        ("kind", "`jti`, `user`, `tenant`, `family`, `session`, `refresh`"),
        ("level", "`local`, `primary`, `replicated`, `fsynced`"),
    ),
)
REVOKE_SECONDS = Instrument(
    "revoke_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "From a revocation's request to its acknowledgement.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
TOKENS_JUDGED = Instrument(
    "tokens_judged",
    Kind.COUNTER,
    "tokens",
    "Whole tokens verified and looked up among the revoked ones.",
    (
        (
            "outcome",
            "`accepted`, `invalid`, `expired`, `revoked`, `unknown` (this instance could not say)",
        ),
    ),
)
KEY_FETCHES = Instrument(
    "key_fetches",
    Kind.COUNTER,
    "attempts",
    "Attempts to renew the keys that verify tokens.",
    (("outcome", "`ok`, `failed`"),),
)
SESSIONS_SERVED = Instrument(
    "sessions_served",
    Kind.COUNTER,
    "reads",
    "Sessions read, from Redis or as a copy while it is away.",
    (("source", "`redis`, `copy`, `local` (there is no Redis)"),),
)
SESSIONS_REFUSED = Instrument(
    "sessions_refused",
    Kind.COUNTER,
    "reads",
    "Stored sessions that counted as none.",
    (("reason", "`unknown-key`, `tampered`, `plain`, `not-json`, `rolled-back`"),),
)
SESSION_WRITES = Instrument(
    "session_writes",
    Kind.COUNTER,
    "changes",
    "Changes of sessions and how they came out.",
    (
        ("operation", "`create`, `update`, `rotate`, `authenticate`, `end`, `end-user`, `end-all`"),
        ("outcome", "`ok`, `conflict`, `gone`, `refused`, `failed`"),
    ),
)
CIRCUIT_CHANGES = Instrument(
    "circuit_changes",
    Kind.COUNTER,
    "changes",
    "Changes of a circuit's state.",
    (
        _CIRCUIT,
        ("state", "`open`, `closed`, `forced-open`, `forced-closed`"),
        ("source", "`redis`, `local` (decided without it)"),
    ),
)
CIRCUIT_REFUSALS = Instrument(
    "circuit_refusals",
    Kind.COUNTER,
    "calls",
    "Calls that a circuit did not let through.",
    (_CIRCUIT, ("state", "`open`, `half-open`, `forced-open`, `full`")),
)
CLIENTS_TURNED_AWAY = Instrument(
    "clients_turned_away",
    Kind.COUNTER,
    "connections",
    "Connections of HTTP clients that the gateway has ended.",
    (
        (
            "reason",
            (
                "`slow-head`, `large-head`, `not-http`, `upgrade`, `pipelined` (too many requests "
                "ahead), `unread` (it does not take what it is sent), `room` (made for others), "
                "`full`, `address` (too many from one)"
            ),
        ),
    ),
)
ACTS_LOST = Instrument(
    "acts_lost",
    Kind.COUNTER,
    "acts",
    "Acts by hand that could not be recorded: the log tells them.",
)
LINK_UP = Instrument(
    "link_up",
    Kind.GAUGE,
    "0 or 1",
    "Whether a verified connection to the primary carries the lane; in a cluster to each of them.",
    (_LANE, _FEATURES),
)
LINK_LOST = Instrument(
    "link_lost",
    Kind.COUNTER,
    "connections",
    "Connections to the primary that ended.",
    (_LANE, _FEATURES),
)
RENEWALS_FAILED = Instrument(
    "credential_renewals_failed",
    Kind.COUNTER,
    "failures",
    "Times that credentials began not to be renewed, or not to be taken on a living connection.",
)
FAILOVERS = Instrument(
    "failovers", Kind.COUNTER, "changes", "Changes of the primary seen.", (_FEATURES,)
)
FAILOVER_SECONDS = Instrument(
    "failover_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "From the first sign of a failover to the link to the new primary.",
    (_FEATURES,),
    _FAILOVER_BUCKETS,
)
FAILOVER_PHASE_SECONDS = Instrument(
    "failover_phase_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "Phases of a failover as this instance saw it, one after the other.",
    (
        (
            "phase",
            (
                "`election` (from the first sign until a Sentinel names another primary), "
                "`agreement` (until it is believed), `connection` (until it is linked and "
                "verified), `first-write` (until it has accepted a write)"
            ),
        ),
        _FEATURES,
    ),
    _FAILOVER_BUCKETS,
)
DEGRADED = Instrument(
    "degraded",
    Kind.GAUGE,
    "0 or 1",
    "Whether operations are answered without Redis.",
    (_FEATURES,),
)
ERA_CHANGES = Instrument(
    "era_changes",
    Kind.COUNTER,
    "changes",
    "New histories of token shards (promotion, restart or wipe).",
)
FULL_SYNCS = Instrument(
    "full_syncs",
    Kind.COUNTER,
    "comparisons",
    "Full comparisons of a token shard that found a difference.",
)
MEMBERS_CHANGED = Instrument(
    "members_changed",
    Kind.COUNTER,
    "days",
    "Days of a token shard that something else than this library changed in Redis.",
)
REPUBLISHED = Instrument(
    "republished",
    Kind.COUNTER,
    "revocations",
    "Revocations published again because Redis had lost them.",
)
OUTBOX_TROUBLE = Instrument(
    "outbox_trouble",
    Kind.GAUGE,
    "0 or 1",
    "Whether the outbox on disk does not do its part.",
    (
        (
            "kind",
            (
                "`full`, `error`, `hung` (revocations stay in memory), `unread` (files of "
                "instances that ended cannot be taken over)"
            ),
        ),
    ),
)
OUTBOX_ADOPTED = Instrument(
    "outbox_adopted",
    Kind.COUNTER,
    "files",
    "Files of instances that had ended, taken over from the outbox on disk.",
)

INSTRUMENTS = (
    DECISIONS,
    DEADLINE_MISSED,
    REVOCATIONS,
    REVOKE_SECONDS,
    TOKENS_JUDGED,
    KEY_FETCHES,
    SESSIONS_SERVED,
    SESSIONS_REFUSED,
    SESSION_WRITES,
    CIRCUIT_CHANGES,
    CIRCUIT_REFUSALS,
    CLIENTS_TURNED_AWAY,
    ACTS_LOST,
    LINK_UP,
    LINK_LOST,
    RENEWALS_FAILED,
    FAILOVERS,
    FAILOVER_SECONDS,
    FAILOVER_PHASE_SECONDS,
    DEGRADED,
    ERA_CHANGES,
    FULL_SYNCS,
    MEMBERS_CHANGED,
    REPUBLISHED,
    OUTBOX_TROUBLE,
    OUTBOX_ADOPTED,
)
"""What events are counted by."""


def features_label(features: tuple[str, ...]) -> str:
    """The value of the label `features`."""
    return ",".join(features) or ALL


@dataclass(frozen=True, slots=True)
class Reading:
    """A gauge that is read off the status: values by their labels, none where none is known."""

    instrument: Instrument
    of: Callable[[Status], Mapping[tuple[str, ...], float]]


def _gauge(name: str, unit: str, meaning: str, of: Callable[[Status], float | None]) -> Reading:
    def read(status: Status) -> Mapping[tuple[str, ...], float]:
        value = of(status)
        return {} if value is None else {(): float(value)}

    return Reading(Instrument(name, Kind.GAUGE, unit, meaning), read)


def _gauge_of_redis(
    name: str, unit: str, meaning: str, of: Callable[[RedisStatus], float | None]
) -> Reading:
    def read(status: Status) -> Mapping[tuple[str, ...], float]:
        values = {features_label(each.features): of(each) for each in status.each_redis}
        return {(whose,): float(value) for whose, value in values.items() if value is not None}

    return Reading(Instrument(name, Kind.GAUGE, unit, meaning, (_FEATURES,)), read)


READINGS = (
    _gauge("token_entries", "revocations", "Revocations held.", lambda status: status.tokens),
    _gauge(
        "outbox_entries",
        "revocations",
        "Own revocations that no primary is known to hold.",
        lambda status: status.outbox,
    ),
    _gauge(
        "outbox_disk_entries",
        "revocations",
        "Revocations that this instance keeps in its outbox on disk, where it has one.",
        lambda status: status.disk.entries if status.disk else None,
    ),
    _gauge(
        "outbox_disk_bytes",
        "bytes",
        "Bytes of that file, which may have 64 MiB.",
        lambda status: status.disk.size if status.disk else None,
    ),
    _gauge(
        "outbox_disk_delay_seconds",
        "seconds",
        "Since the oldest revocation that is not on disk yet was made; 0 where all are.",
        lambda status: status.disk.delay if status.disk else None,
    ),
    _gauge(
        "staleness_seconds",
        "seconds",
        "Since the revocations were certainly in step with the primary.",
        lambda status: status.staleness,
    ),
    _gauge(
        "instances",
        "instances",
        "Instances that live, this one included.",
        lambda status: status.instances,
    ),
    _gauge(
        "policies_differing",
        "instances",
        "Live instances that go by other policies than this one.",
        lambda status: status.differing,
    ),
    _gauge(
        "policies_refused",
        "0 or 1",
        "Whether the policies file has changed and cannot be used: what it said before holds.",
        lambda status: "policies" in status.troubles,
    ),
    _gauge_of_redis(
        "replicas",
        "replicas",
        "Replicas that most Sentinels do not call down.",
        lambda redis: redis.replicas,
    ),
    _gauge_of_redis(
        "replica_lag_bytes",
        "bytes",
        "How far the replica that is furthest behind is behind the primary.",
        lambda redis: redis.lag.size if redis.lag else None,
    ),
    _gauge_of_redis(
        "replica_lag_seconds",
        "seconds",
        "Since the replica that has been silent for longest has acknowledged.",
        lambda redis: redis.lag.seconds if redis.lag else None,
    ),
    _gauge(
        "keys_age_seconds",
        "seconds",
        "Since the issuer's keys were fetched, where they are published.",
        lambda status: status.keys_age,
    ),
    _gauge(
        "ready",
        "0 or 1",
        "Whether the revocations were loaded: tokens can be judged unless these grow too old.",
        lambda status: status.ready,
    ),
    Reading(
        Instrument(
            "circuit_in_flight",
            Kind.GAUGE,
            "calls",
            "Calls under way through circuits that this instance follows.",
            (("circuit", "its name"),),
        ),
        lambda status: {(name,): float(calls) for name, calls in status.in_flight.items()},
    ),
)
"""What is read off the status at each scrape."""
