"""What the Grafana dashboard shows: panels under headings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

WIDTH = 24
"""Columns of a dashboard."""


class Kind(StrEnum):
    """How a panel shows its figures."""

    LINES = "timeseries"
    STATES = "state-timeline"
    BARS = "bargauge"


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        unit: as Grafana names it.
        queries: PromQL by legend.
        meaning: what a reader should know of it.
        states: words for values, of a panel that shows states.
    """

    title: str
    unit: str
    queries: Mapping[str, str]
    meaning: str = ""
    kind: Kind = Kind.LINES
    width: int = 8
    states: Mapping[int, str] = field(default_factory=dict)


_UP = {1: "up", 0: "down"}

_USERS = (
    Panel(
        "Limits decided, by source",
        "ops",
        {
            "{{source}}": "sum by (source) "
            "(rate(aragora_redis_decisions_total{@gateway}[$__rate_interval]))"
        },
        "local: each instance goes by its share. unavailable: refused, as nobody could decide.",
    ),
    Panel(
        "Requests refused, by policy",
        "ops",
        {
            "{{policy}}": "sum by (policy) (rate("
            'aragora_redis_decisions_total{@gateway, allowed="false"}[$__rate_interval]))'
        },
    ),
    Panel(
        "Operations given up at their deadline",
        "ops",
        {
            "{{lane}}, sent {{sent}}": "sum by (lane, sent) "
            "(rate(aragora_redis_deadline_missed_total{@gateway}[$__rate_interval]))"
        },
        "sent true: it may have run.",
    ),
    Panel(
        "Time to revoke",
        "s",
        {
            f"p{percent}": f"histogram_quantile(0.{percent}, sum by (le) "
            "(rate(aragora_redis_revoke_seconds_bucket{@gateway}[$__rate_interval])))"
            for percent in (50, 99)
        },
        "From the request to the acknowledgement, of whatever level.",
    ),
    Panel(
        "Revocations, by the level they reached",
        "ops",
        {
            "{{level}}": "sum by (level) "
            "(rate(aragora_redis_revocations_total{@gateway}[$__rate_interval]))"
        },
    ),
    Panel(
        "Sessions",
        "ops",
        {
            "read from {{source}}": "sum by (source) "
            "(rate(aragora_redis_sessions_served_total{@gateway}[$__rate_interval]))",
            "written: {{outcome}}": "sum by (outcome) "
            "(rate(aragora_redis_session_writes_total{@gateway}[$__rate_interval]))",
        },
    ),
    Panel(
        "Calls that circuits refused",
        "ops",
        {
            "{{circuit}}": "sum by (circuit) "
            "(rate(aragora_redis_circuit_refusals_total{@gateway}[$__rate_interval]))"
        },
        width=6,
    ),
    Panel(
        "Calls under way through circuits",
        "none",
        {"{{circuit}}": "sum by (circuit) (aragora_redis_circuit_in_flight{@gateway})"},
        width=6,
    ),
    Panel(
        "Instances without Redis, or not ready",
        "none",
        {
            "without the Redis of {{features}}": "sum by (features) "
            "(aragora_redis_degraded{@gateway})",
            "not ready": "sum(1 - aragora_redis_ready{@gateway})",
        },
        width=6,
    ),
    Panel(
        "Links to the primary that are up, by lane",
        "none",
        {"{{lane}}, {{features}}": "sum by (lane, features) (aragora_redis_link_up{@gateway})"},
        width=6,
    ),
)

_WHO_LEADS = Panel(
    "Who is primary",
    "none",
    {
        "{{instance}}": "max by (instance) "
        '(redis_instance_info{@server, role="master"}) '
        "or 0 * max by (instance) (redis_instance_info{@server})"
    },
    "As each server says itself; a gap is one that does not answer.",
    Kind.STATES,
    WIDTH,
    {1: "primary", 0: "replica"},
)

_FAILOVERS = (
    Panel(
        "Changes of the primary that gateways saw",
        "none",
        {
            "{{instance}}, {{features}}": "increase"
            "(aragora_redis_failovers_total{@gateway}[$__rate_interval])"
        },
    ),
    Panel(
        "Where the time of failovers went",
        "s",
        {
            "{{phase}}, {{features}}": "sum by (phase, features) "
            "(aragora_redis_failover_phase_seconds_sum{@gateway}) / sum by (phase, features) "
            "(aragora_redis_failover_phase_seconds_count{@gateway})"
        },
        "Mean of each phase since the gateways started.",
        Kind.BARS,
        12,
    ),
    Panel(
        "Failovers, from the first sign to the new link",
        "s",
        {
            "mean, {{features}}": "sum by (features) "
            "(aragora_redis_failover_seconds_sum{@gateway}) / sum by (features) "
            "(aragora_redis_failover_seconds_count{@gateway})"
        },
        "Since the gateways started.",
        Kind.BARS,
        12,
    ),
)
"""As the gateways saw them."""

_SENTINELS = (
    Panel(
        "Primary, as the Sentinels name it",
        "none",
        {
            "{{instance}}: {{master_address}}": "max by (instance, master_address) "
            "(redis_sentinel_master_status{@sentinel})"
        },
        "Down is what that Sentinel thinks by itself.",
        Kind.STATES,
        12,
        {1: "ok", 0: "down"},
    ),
    Panel(
        "Sentinels that answer",
        "none",
        {"{{instance}}": "max by (instance) (redis_up{@sentinel})"},
        kind=Kind.STATES,
        width=12,
        states=_UP,
    ),
    Panel(
        "Good replicas and Sentinels",
        "none",
        {
            "replicas": "min(redis_sentinel_master_ok_slaves{@sentinel})",
            "Sentinels": "min(redis_sentinel_master_ok_sentinels{@sentinel})",
        },
        "As the Sentinel that sees fewest says.",
    ),
    Panel(
        "Failover is possible",
        "none",
        {
            "quorum and majority": "max(redis_sentinel_master_ckquorum_status{@sentinel})",
            "Sentinels in TILT": "sum(redis_sentinel_tilt{@sentinel})",
        },
    ),
)

_CLUSTER = (
    Panel(
        "The cluster works, as each node sees it",
        "none",
        {"{{instance}}": "max by (instance) (redis_cluster_state{@server})"},
        "Failing is one that reaches fewer than most primaries: it refuses commands.",
        Kind.STATES,
        12,
        {1: "ok", 0: "failing"},
    ),
    Panel(
        "Slots",
        "none",
        {
            "served": "min(redis_cluster_slots_ok{@server})",
            "held by anybody": "min(redis_cluster_slots_assigned{@server})",
            "missed by some": "max(redis_cluster_slots_pfail{@server})",
            "down": "max(redis_cluster_slots_fail{@server})",
        },
        "Of 16384, as the node says that sees least.",
        width=12,
    ),
    Panel(
        "Replicas of each primary",
        "none",
        {
            "{{instance}}": "redis_connected_slaves{@server} and on (namespace, instance) "
            'redis_instance_info{@server, role="master"}'
        },
        "At 0 the death of that primary takes its slots out of service.",
    ),
    Panel(
        "Nodes known, and primaries with slots",
        "none",
        {
            "{{instance}} knows": "redis_cluster_known_nodes{@server}",
            "primaries": "max(redis_cluster_size{@server})",
        },
    ),
    Panel(
        "Epoch",
        "none",
        {"{{instance}}": "redis_cluster_current_epoch{@server}"},
        "It rises with each failover; nodes that differ for long do not hear each other.",
    ),
)

_SERVERS = (
    Panel(
        "Servers that answer",
        "none",
        {"{{instance}}": "max by (instance) (redis_up{@server})"},
        kind=Kind.STATES,
        width=12,
        states=_UP,
    ),
    Panel(
        "Link of each replica to its primary",
        "none",
        {"{{instance}}": "max by (instance) (redis_master_link_status{@server})"},
        kind=Kind.STATES,
        width=12,
        states=_UP,
    ),
    Panel(
        "Memory used, of maxmemory",
        "percentunit",
        {
            "{{instance}}": "redis_memory_used_bytes{@server} "
            "/ (redis_memory_max_bytes{@server} > 0)"
        },
        "At 1 writes are refused; without maxmemory there is no value.",
    ),
    Panel("Clients", "none", {"{{instance}}": "redis_connected_clients{@server}"}),
    Panel(
        "Commands",
        "ops",
        {"{{instance}}": "rate(redis_commands_processed_total{@server}[$__rate_interval])"},
    ),
    Panel(
        "Silence of each replica",
        "s",
        {"{{slave_ip}}:{{slave_port}}": "redis_replication_lag{@server}"},
        "Since it last acknowledged, in whole seconds: 0 and 1 are usual.",
    ),
    Panel(
        "What each replica lacks",
        "bytes",
        {"{{slave_ip}}:{{slave_port}}": "redis_replication_lag_bytes{@server}"},
    ),
    Panel(
        "What the backlog holds",
        "bytes",
        {
            "{{instance}}": "redis_repl_backlog_history_bytes{@server}",
            "{{instance}} at most": "redis_replication_backlog_bytes{@server}",
        },
        "A replica that has been away for more than that copies everything.",
    ),
    Panel(
        "Full copies to replicas",
        "none",
        {"{{instance}}": "increase(redis_replica_resyncs_full{@server}[$__rate_interval])"},
    ),
    Panel(
        "Keys evicted and expired",
        "ops",
        {
            "{{instance}} evicted": "rate(redis_evicted_keys_total{@server}[$__rate_interval])",
            "{{instance}} expired": "rate(redis_expired_keys_total{@server}[$__rate_interval])",
        },
        "Nothing may ever be evicted: it could be a revocation.",
    ),
    Panel(
        "Append-only file can be written",
        "none",
        {
            "{{instance}}": "min by (instance) (redis_aof_last_write_status{@server} "
            "* redis_aof_last_bgrewrite_status{@server})"
        },
        kind=Kind.STATES,
        states={1: "ok", 0: "failing"},
    ),
    Panel(
        "Append-only file",
        "bytes",
        {"{{instance}}": "redis_aof_current_size_bytes{@server}"},
    ),
    Panel(
        "Syncs of the append-only file that were late",
        "ops",
        {"{{instance}}": "rate(redis_aof_delayed_fsync{@server}[$__rate_interval])"},
        "The disk is slower than the writes.",
    ),
)

_FLEET = (
    Panel(
        "Outbox",
        "none",
        {"{{instance}}": "aragora_redis_outbox_entries{@gateway}"},
        "Revocations that no primary is known to hold.",
    ),
    Panel(
        "Outbox on disk",
        "none",
        {
            "{{instance}}": "aragora_redis_outbox_disk_entries{@gateway}",
            "{{instance}}: trouble": "max by (instance) (aragora_redis_outbox_trouble{@gateway})",
        },
        "Revocations that each instance keeps on disk, and what is wrong with that.",
    ),
    Panel(
        "Age of what is known of the revocations",
        "s",
        {"{{instance}}": "aragora_redis_staleness_seconds{@gateway}"},
    ),
    Panel(
        "Revocations held",
        "none",
        {"{{instance}}": "aragora_redis_token_entries{@gateway}"},
    ),
    Panel(
        "Replica that is furthest behind",
        "bytes",
        {"{{instance}}, {{features}}": "aragora_redis_replica_lag_bytes{@gateway}"},
        "As each gateway sees it.",
    ),
    Panel(
        "Replica that has been silent for longest",
        "s",
        {"{{instance}}, {{features}}": "aragora_redis_replica_lag_seconds{@gateway}"},
        "As each gateway sees it.",
    ),
    Panel(
        "Decided by shares",
        "percentunit",
        {
            "{{policy}}": "sum by (policy) (rate("
            'aragora_redis_decisions_total{@gateway, source="local"}[$__rate_interval])) '
            "/ sum by (policy) "
            "(rate(aragora_redis_decisions_total{@gateway}[$__rate_interval]))"
        },
        "The part of the limits that was decided without Redis.",
    ),
    Panel(
        "Mended after a failover",
        "none",
        {
            "published again": "sum("
            "increase(aragora_redis_republished_total{@gateway}[$__rate_interval]))",
            "new histories": "sum("
            "increase(aragora_redis_era_changes_total{@gateway}[$__rate_interval]))",
            "full comparisons": "sum("
            "increase(aragora_redis_full_syncs_total{@gateway}[$__rate_interval]))",
        },
        "Revocations that the new primary lacked.",
    ),
    Panel(
        "Instances, and replicas that they count on",
        "none",
        {
            "instances": "max(aragora_redis_instances{@gateway})",
            "replicas, {{features}}": "min by (features) (aragora_redis_replicas{@gateway})",
        },
    ),
    Panel(
        "Connections lost",
        "ops",
        {
            "{{lane}}, {{features}}": "sum by (lane, features) "
            "(rate(aragora_redis_link_lost_total{@gateway}[$__rate_interval]))"
        },
    ),
)


def sections(*, cluster: bool) -> Mapping[str, tuple[Panel, ...]]:
    """The panels under each heading, of a Redis Cluster or of one Redis under Sentinels."""
    return {
        "What users feel": _USERS,
        "Failover": (_WHO_LEADS, *(_CLUSTER if cluster else _SENTINELS), *_FAILOVERS),
        "Redis servers": _SERVERS,
        "Revocations and the fleet": _FLEET,
    }
