"""What is counted, under which names and labels."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict_families
from prometheus_client.parser import text_string_to_metric_families

from aragora_redis.address import Address
from aragora_redis.errors import InvalidInputError
from aragora_redis.events import (
    GIVEN_UP,
    CircuitChanged,
    CircuitRefused,
    ClientsTurnedAway,
    DeadlineMissed,
    Decided,
    Degraded,
    EraChanged,
    Event,
    Events,
    FullSync,
    LinkLost,
    LinkUp,
    MembersChanged,
    OutboxAdopted,
    OutboxKept,
    OutboxTrouble,
    Recovered,
    Revoked,
    SessionServed,
    SessionWrite,
    Unreachable,
    ViewChanged,
)
from aragora_redis.names import validate_name
from aragora_redis.state.circuits.circuits import CIRCUITS
from aragora_redis.state.status import OnDisk, RedisStatus, Status
from aragora_redis.telemetry.instruments import OTHERS
from aragora_redis.telemetry.prometheus import Metrics, merged
from aragora_redis.testing import FakeClock
from aragora_redis.testing.sync import memory_state
from aragora_redis.topology.statement import Lag

OLD, NEW = Address("127.0.0.1", 6379), Address("127.0.0.1", 6380)
ALL = {"features": "all"}


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def events(registry, clock):
    events = Events()
    Metrics(registry, clock=clock).listen(events)
    return events


@pytest.mark.parametrize(
    ("event", "sample", "value"),
    [
        (
            Decided("api", allowed=False, source="deny-cache"),
            ("decisions_total", {"policy": "api", "allowed": "false", "source": "deny-cache"}),
            1,
        ),
        (SessionServed("copy"), ("sessions_served_total", {"source": "copy"}), 1),
        (
            SessionWrite("update", "conflict"),
            ("session_writes_total", {"operation": "update", "outcome": "conflict"}),
            1,
        ),
        (
            CircuitChanged("llm", "open", 1, "local"),
            ("circuit_changes_total", {"circuit": "llm", "state": "open", "source": "local"}),
            1,
        ),
        (
            CircuitRefused("llm", "half-open"),
            ("circuit_refusals_total", {"circuit": "llm", "state": "half-open"}),
            1,
        ),
        (
            DeadlineMissed("fast", sent=True),
            ("deadline_missed_total", {"lane": "fast", "sent": "true"}),
            1,
        ),
        (
            Revoked("jti", "replicated", 0.002),
            ("revocations_total", {"kind": "jti", "level": "replicated"}),
            1,
        ),
        (Revoked("jti", "local", 0.002), ("revoke_seconds_sum", {}), 0.002),
        (LinkUp(str(NEW), "bulk", 0.0), ("link_up", {"lane": "bulk", "features": "all"}), 1),
        (LinkLost(str(OLD), "fast", "gone"), ("link_lost_total", {"lane": "fast"} | ALL), 1),
        (LinkLost(str(OLD), "fast", "gone"), ("link_up", {"lane": "fast", "features": "all"}), 0),
        (ViewChanged(OLD, NEW, 2), ("failovers_total", ALL), 1),
        (ViewChanged(None, NEW, 1), ("failovers_total", ALL), 0),
        (Degraded("no link"), ("degraded", {"features": "all"}), 1),
        (EraChanged(3, 2, 5, 7), ("era_changes_total", {}), 1),
        (EraChanged(3, 2, 5, 7), ("republished_total", {}), 12),
        (OutboxTrouble("why", "hung"), ("outbox_trouble", {"kind": "hung"}), 1),
        (OutboxTrouble("why", "hung"), ("outbox_trouble", {"kind": "full"}), 0),
        (OutboxAdopted(2, 5, 0), ("outbox_adopted_total", {}), 2),
        (FullSync(3, 1, 4, 0.1), ("full_syncs_total", {}), 1),
        (MembersChanged(3, 9, 4), ("members_changed_total", {}), 1),
        (FullSync(3, 1, 4, 0.1), ("republished_total", {}), 4),
        (
            ClientsTurnedAway("slow-head", 7),
            ("clients_turned_away_total", {"reason": "slow-head"}),
            7,
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_an_event_is_counted(registry, events, event: Event, sample, value):
    events.emit(event)
    name, labels = sample
    assert registry.get_sample_value(f"aragora_redis_{name}", labels) == value


def test_circuits_that_clients_name_have_so_many_labels_and_no_more(registry, events):
    for number in range(CIRCUITS + 3):
        events.emit(CircuitRefused(f"c{number}", "open"))
        events.emit(CircuitChanged(f"c{number}", "open", 1, "local"))

    def told(name, **labels):
        return registry.get_sample_value(f"aragora_redis_{name}_total", labels)

    assert told("circuit_refusals", circuit="c0", state="open") == 1
    assert told("circuit_refusals", circuit=OTHERS, state="open") == 3
    assert told("circuit_changes", circuit=OTHERS, state="open", source="local") == 3
    assert told("circuit_refusals", circuit=f"c{CIRCUITS}", state="open") is None
    with pytest.raises(InvalidInputError):
        validate_name(OTHERS, "a circuit")


def test_degraded_ends_with_recovery(registry, events):
    events.emit(Degraded("no link"))
    events.emit(Recovered(1.0))
    assert registry.get_sample_value("aragora_redis_degraded", {"features": "all"}) == 0


def test_trouble_of_the_outbox_is_of_one_kind_and_ends(registry, events):
    def kinds():
        told = ("full", "error", "hung", "unread")
        name = "aragora_redis_outbox_trouble"
        return [registry.get_sample_value(name, {"kind": kind}) for kind in told]

    assert kinds() == [0, 0, 0, 0]
    events.emit(OutboxTrouble("why", "hung"))
    events.emit(OutboxTrouble("why", "full"))
    assert kinds() == [1, 0, 0, 0]
    events.emit(OutboxKept())
    assert kinds() == [0, 0, 0, 0]


def test_a_failover_is_timed(registry, events, clock):
    events.emit(LinkLost(str(OLD), "fast", "gone"))
    clock.advance(1.5)
    events.emit(ViewChanged(OLD, NEW, 2))
    clock.advance(0.5)
    events.emit(LinkUp(str(NEW), "fast", 2.0))
    assert registry.get_sample_value("aragora_redis_failover_seconds_sum", ALL) == 2.0
    assert registry.get_sample_value("aragora_redis_failover_seconds_count", ALL) == 1


def test_each_phase_of_a_failover_is_timed(registry, events, clock):
    events.emit(LinkLost(str(OLD), "fast", "gone"))
    clock.advance(1.5)
    events.emit(ViewChanged(OLD, NEW, 2))
    clock.advance(0.5)
    events.emit(LinkUp(str(NEW), "fast", 2.0))
    clock.advance(0.25)
    events.emit(Recovered(2.0))

    def lasted(phase):
        name = "aragora_redis_failover_phase_seconds_sum"
        return registry.get_sample_value(name, {"phase": phase} | ALL)

    phases = ("election", "agreement", "connection", "first-write")
    assert [lasted(phase) for phase in phases] == [1.5, 0, 0.5, 0.25]


def test_the_lag_of_replicas_is_told_where_it_is_known(registry):
    metrics = Metrics(registry)
    status = Status(mode="sentinel", health="healthy")
    metrics.watch(lambda: status)
    whose = {"features": "all"}
    assert registry.get_sample_value("aragora_redis_replica_lag_bytes", whose) is None
    status = Status(mode="sentinel", health="healthy", lag=Lag(1500, 2))
    assert registry.get_sample_value("aragora_redis_replica_lag_bytes", whose) == 1500
    assert registry.get_sample_value("aragora_redis_replica_lag_seconds", whose) == 2


def test_each_redis_has_gauges_of_its_own(registry):
    """An alert on the fewest replicas sees those of the revocations."""

    def redis(*features, replicas, lag):
        return RedisStatus(
            features=features,
            mode="sentinel",
            health="healthy",
            reason=None,
            primary="h:6379",
            epoch=1,
            replicas=replicas,
            instances=1,
            sentinels=3,
            lag=lag,
        )

    both = (
        redis("tokens", "sessions", replicas=0, lag=None),
        redis("limits", "circuits", replicas=2, lag=Lag(7, 1)),
    )
    Metrics(registry).watch(
        lambda: Status(mode="sentinel", health="healthy", replicas=2, redis=both)
    )

    def told(name):
        return [
            registry.get_sample_value(f"aragora_redis_{name}", {"features": whose})
            for whose in ("tokens,sessions", "limits,circuits", "all")
        ]

    assert told("replicas") == [0, 2, None]
    assert told("replica_lag_bytes") == [None, 7, None]


def test_a_policies_file_that_is_refused_is_a_gauge(registry):
    troubles: dict[str, str] = {}
    Metrics(registry).watch(
        lambda: Status(mode="sentinel", health="healthy", troubles=dict(troubles))
    )
    assert registry.get_sample_value("aragora_redis_policies_refused") == 0
    troubles["policies"] = "line 3 is wrong"
    assert registry.get_sample_value("aragora_redis_policies_refused") == 1


def test_the_status_is_read_at_each_scrape(registry):
    metrics = Metrics(registry)
    status = Status(mode="sentinel", health="healthy", tokens=3, outbox=1, staleness=float("inf"))
    metrics.watch(lambda: status)
    assert registry.get_sample_value("aragora_redis_token_entries") == 3
    assert registry.get_sample_value("aragora_redis_outbox_entries") == 1
    assert registry.get_sample_value("aragora_redis_staleness_seconds") == float("inf")
    assert registry.get_sample_value("aragora_redis_instances") == 1
    assert registry.get_sample_value("aragora_redis_replicas", {"features": "all"}) == 0
    assert registry.get_sample_value("aragora_redis_ready") == 0
    assert registry.get_sample_value("aragora_redis_outbox_disk_entries") is None
    disk = OnDisk(entries=4, size=500, waiting=1, delay=2.5, trouble="full")
    status = Status(mode="sentinel", health="healthy", ready=True, disk=disk)
    assert registry.get_sample_value("aragora_redis_outbox_disk_entries") == 4
    assert registry.get_sample_value("aragora_redis_outbox_disk_bytes") == 500
    assert registry.get_sample_value("aragora_redis_outbox_disk_delay_seconds") == 2.5
    assert registry.get_sample_value("aragora_redis_ready") == 1


def test_a_scrape_of_another_thread_does_not_fail_while_the_status_changes(registry):
    metrics = Metrics(registry)

    def status():
        raise RuntimeError("dictionary changed size during iteration")

    metrics.watch(status)
    assert b"aragora_redis_acts_lost_total 0.0" in metrics.exposition()[0]


def test_a_status_that_has_changed_under_the_look_is_looked_at_again(registry):
    metrics = Metrics(registry)
    faults = ["dictionary changed size", "Set changed size"]

    def status():
        if faults:
            raise RuntimeError(f"{faults.pop()} during iteration")
        return Status(mode="sentinel", health="healthy", tokens=3)

    metrics.watch(status)
    assert registry.get_sample_value("aragora_redis_token_entries") == 3


def test_a_coroutine_that_asks_a_state_for_threads_is_told_so(registry):
    metrics = Metrics(registry)

    async def scrape():
        return metrics.exposition()

    with memory_state() as state:
        metrics.watch(state.status)
        assert b"aragora_redis_ready 1.0" in metrics.exposition()[0]
        with pytest.raises(RuntimeError, match="would hold up this event loop"):
            asyncio.run(scrape())


def test_a_scrape_does_not_fail_where_a_state_for_threads_is_not_in_use(registry):
    metrics = Metrics(registry)
    with memory_state() as state:
        metrics.watch(state.status)
    assert b"aragora_redis_acts_lost_total 0.0" in metrics.exposition()[0]
    assert registry.get_sample_value("aragora_redis_ready") is None


def test_a_registry_that_asks_what_it_is_given_does_not_ask_for_the_status():
    def status():
        raise RuntimeError("would hold up this event loop")

    Metrics(CollectorRegistry(auto_describe=True)).watch(status)


def test_every_metric_has_the_prefix_and_a_meaning():
    metrics = Metrics()
    metrics.watch(lambda: Status(mode="embedded", health="healthy"))
    content, media_type = metrics.exposition()
    assert media_type.startswith("text/plain")
    for family in text_string_to_metric_families(content.decode()):
        assert family.name.startswith("aragora_redis_")
        assert family.documentation.endswith(".")


def link_up(registry, features="all", lane="fast"):
    labels = {"lane": lane, "features": features}
    return registry.get_sample_value("aragora_redis_link_up", labels)


def test_a_lane_is_up_while_it_is_to_each_primary_that_is_known(registry, events):
    def figures():
        lost = registry.get_sample_value("aragora_redis_link_lost_total", {"lane": "fast"} | ALL)
        return [link_up(registry), lost or 0]

    def told(*those: Event):
        for each in those:
            events.emit(each)
        return figures()

    third = Address("127.0.0.1", 6390)
    assert told(LinkUp(str(OLD), "fast", 0.0), LinkUp(str(third), "fast", 0.0)) == [1, 0]
    assert told(LinkLost(str(third), "fast", "gone")) == [0, 1]
    assert told(LinkLost(str(OLD), "fast", "gone"), LinkUp(str(OLD), "fast", 1.0)) == [0, 2]
    assert told(ViewChanged(third, NEW, 2)) == [0, 2]
    assert told(LinkUp(str(NEW), "fast", 1.0)) == [1, 2]
    # Its last slot has gone to another, and it is let go.
    assert told(ViewChanged(NEW, OLD, 3), LinkLost(str(NEW), "fast", GIVEN_UP)) == [1, 2]
    # The link to who was replaced is closed on that news.
    assert told(ViewChanged(OLD, NEW, 4), LinkLost(str(OLD), "fast", "replaced")) == [0, 3]
    assert told(LinkUp(str(NEW), "fast", 0.1)) == [1, 3]
    assert told(LinkLost(str(NEW), "fast", GIVEN_UP)) == [0, 3]


def test_the_link_to_who_took_another_s_address_is_not_taken_for_up(registry, events):
    both = [LinkUp(str(OLD), "fast", 0.0), LinkUp(str(NEW), "fast", 0.0)]
    renewed = [LinkLost(str(OLD), "fast", "gone"), ViewChanged(OLD, OLD, 2)]
    for event in (*both, *renewed, LinkLost(str(OLD), "fast", GIVEN_UP)):
        events.emit(event)
    assert link_up(registry) == 0
    events.emit(LinkUp(str(OLD), "fast", 1.0))
    assert link_up(registry) == 1


def test_the_link_to_a_name_stays_what_it_is_where_that_leads_elsewhere(registry, events):
    events.emit(LinkUp("redis:6379", "fast", 0.0))
    events.emit(ViewChanged(OLD, NEW, None))
    assert link_up(registry) == 1


def test_each_redis_is_linked_and_degraded_for_itself(registry, events):
    """Features of which each is another user of the same server too."""
    tokens, limits = events.of(("tokens",)), events.of(("limits",))
    limits.emit(LinkUp(str(OLD), "fast", 0.0))
    tokens.emit(Unreachable(f"primary {OLD}", "the password is wrong"))
    assert (link_up(registry, "tokens"), link_up(registry, "limits")) == (0, 1)
    tokens.emit(LinkUp(str(OLD), "fast", 0.0))
    limits.emit(LinkLost(str(OLD), "fast", "gone"))
    limits.emit(Degraded("no link"))
    assert (link_up(registry, "tokens"), link_up(registry, "limits")) == (1, 0)
    limits.emit(ViewChanged(OLD, NEW, 2))

    def told(name):
        labels = ({"features": each} for each in ("tokens", "limits", "all"))
        return [registry.get_sample_value(f"aragora_redis_{name}", each) for each in labels]

    assert told("degraded") == [0, 1, None]
    assert told("failovers_total") == [0, 1, None], "a series must begin before it can increase"


def test_a_lane_that_was_never_up_is_shown_as_down(registry, events):
    events.emit(Unreachable(f"primary {OLD}", "refuses connections"))
    assert link_up(registry, lane="durable") == 0
    assert registry.get_sample_value("aragora_redis_degraded", {"features": "all"}) == 0


OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def test_the_expositions_of_several_workers_are_one_in_both_formats():
    def told(accept):
        metrics, events = Metrics(), Events()
        metrics.listen(events)
        events.emit(SessionServed("copy"))
        events.emit(Revoked("jti", "local", 0.002))
        one = metrics.exposition()[0].decode()
        content, media_type = merged({"0": one, "1": one}, "worker", accept)
        assert media_type.startswith(accept)
        return content.decode()

    for families in (
        strict_families(told(OPEN_METRICS)),
        text_string_to_metric_families(told("text/plain; version=0.0.4")),
    ):
        samples = {each.name: list(each.samples) for each in families}
        found = samples["aragora_redis_sessions_served"]
        assert [(each.labels["worker"], each.value) for each in found] == [("0", 1), ("1", 1)]
        assert len({each.labels["worker"] for each in samples["aragora_redis_revoke_seconds"]}) == 2


@pytest.mark.parametrize("version", ["x", "1.x", "9" * 5000, "1.\xb2"])
def test_a_format_that_there_is_not_is_answered_in_the_usual_one(version):
    metrics = Metrics()
    usual, media_type = metrics.exposition()
    accept = f"application/openmetrics-text; version={version}, text/plain; version={version}"
    assert metrics.exposition(accept) == (usual, media_type)
    assert merged({"0": usual.decode()}, "worker", accept)[1] == media_type
