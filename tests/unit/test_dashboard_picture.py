"""The picture of the topology: who stands where, what ties are whole, what is said of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from aragora_redis.address import Address
from aragora_redis.events import LinkLost, LinkUp, ViewChanged
from aragora_redis.gateway.auth import Role
from aragora_redis.gateway.dashboard.acts import Wish, of_switchover
from aragora_redis.gateway.dashboard.drawing import drawn
from aragora_redis.gateway.dashboard.findings import findings
from aragora_redis.gateway.dashboard.health import health
from aragora_redis.gateway.dashboard.layout import tall, wide
from aragora_redis.gateway.dashboard.picture import LabPicture, Picture
from aragora_redis.gateway.dashboard.sections import sections
from aragora_redis.gateway.dashboard.servers import Sight, steadied
from aragora_redis.gateway.dashboard.sketch import sentence
from aragora_redis.gateway.dashboard.sketching import sketch_of, unseen
from aragora_redis.gateway.dashboard.timeline import Instant, Interruption, Timeline, Timelines
from aragora_redis.gateway.dashboard.topology import topology
from aragora_redis.lab import Kind, LabStatus, Mode, NodeStatus, State
from aragora_redis.ops.access import Failure, Fault
from aragora_redis.ops.doctor import examine
from aragora_redis.ops.overview import overview_of
from aragora_redis.ops.survey import Instance, NodeSurvey, SentinelSurvey, Survey
from aragora_redis.state.status import RedisStatus, Status

ONE, TWO, THREE = (Address("10.0.0.1", 6379 + n) for n in range(3))
WATCHERS = tuple(Address("10.0.0.2", 26379 + n) for n in range(3))
GONE = Failure(Fault.UNREACHABLE, "cannot be reached")
NOW = Instant(100.0, 1_000.0)


def primary(**replicas):
    rows = {
        f"slave{number}": {"ip": at.host, "port": at.port, "state": "online", **row}
        for number, (at, row) in enumerate(replicas.pop("rows", {}).items())
    }
    info = {"role": "master", "master_repl_offset": 1000, **rows}
    return NodeSurvey(role="master", source=None, info=info, config={})


def replica(of, link="up"):
    info = {"role": "slave", "master_link_status": link, "slave_repl_offset": 990}
    return NodeSurvey(role="slave", source=of, info=info, config={})


def watcher(named, flags="master"):
    return SentinelSurvey(
        id="x",
        named=named,
        master={"config-epoch": 3, "quorum": 2, "flags": flags, "down-after-milliseconds": 1000},
        replicas=(),
        fellows=(),
        info={},
    )


def picture_of(nodes, sentinels, *, primary_at=ONE, **more):
    survey = Survey(master_name="m", sentinels=sentinels, nodes=nodes, now=0.0)
    status = Status(mode="sentinel", health="healthy", primary=str(primary_at), epoch=3)
    sight = Sight(survey=survey, overview=overview_of(survey))
    return Picture(status=status, at=NOW, sights=(sight,), **more)


def sketched(picture):
    (scene,) = picture.scenes
    return sketch_of(picture, scene)


def healthy():
    rows = {TWO: {"offset": 1000, "lag": 0}, THREE: {"offset": 400, "lag": 2}}
    nodes = {ONE: primary(rows=rows), TWO: replica(ONE), THREE: replica(ONE)}
    return picture_of(nodes, dict.fromkeys(WATCHERS, watcher(ONE)))


def test_a_healthy_deployment_is_whole():
    sketch = sketched(healthy())
    assert [box.id for box in sketch.groups[0]] == [str(ONE), str(TWO), str(THREE)]
    assert {box.condition for box in sketch.boxes} == {"well"}
    assert all(tie.whole for tie in sketch.ties)
    labels = {tie.target: tie.label for tie in sketch.ties if tie.does == "feeds"}
    assert labels == {str(TWO): "in step", str(THREE): "600 B behind"}
    assert sentence(sketch).startswith("3 servers and 3 Sentinels. 10.0.0.1:6379: primary, answers")


def test_a_lost_primary_breaks_all_that_hangs_on_it():
    nodes = {ONE: GONE, TWO: replica(ONE, "down"), THREE: replica(ONE, "down")}
    sentinels = {
        WATCHERS[0]: watcher(ONE, "master,s_down,o_down"),
        WATCHERS[1]: watcher(ONE, "master,s_down"),
        WATCHERS[2]: GONE,
    }
    lost = Interruption(began=NOW, lost=str(ONE))
    sketch = sketched(picture_of(nodes, sentinels, ongoing=(lost,)))
    conditions = {box.id: (box.condition, box.words) for box in sketch.boxes}
    assert conditions[str(ONE)] == ("gone", "no answer")
    assert conditions[str(TWO)] == ("troubled", "no link to its primary")
    assert [conditions[str(at)][1] for at in WATCHERS] == ["says down", "misses it", "no answer"]
    assert not any(tie.whole for tie in sketch.ties)
    assert sketch.groups[0][0].role == "primary until now"


def test_who_is_promoted_stands_in_front_before_it_says_so_itself():
    nodes = {ONE: GONE, TWO: replica(ONE, "down")}
    sentinels = dict.fromkeys(WATCHERS, watcher(ONE))
    sketch = sketched(picture_of(nodes, sentinels, primary_at=TWO))
    assert [(box.id, box.role) for box in sketch.groups[0]] == [
        (str(TWO), "replica, being promoted"),
        (str(ONE), "server"),
    ]


@pytest.mark.parametrize("layout", [wide, tall], ids=["wide", "tall"])
@pytest.mark.parametrize("replicas", [0, 1, 2, 7])
@pytest.mark.parametrize("sentinels", [0, 3, 7])
def test_boxes_do_not_overlap_and_stay_on_the_page(layout, replicas, sentinels):
    nodes = {ONE: primary()} | {Address("10.0.0.3", n): replica(ONE) for n in range(replicas)}
    watchers = {Address("10.0.0.2", n): watcher(ONE) for n in range(sentinels)}
    placed = layout(sketched(picture_of(nodes, watchers)))
    assert len(placed.spots) == 2 + replicas + sentinels
    for number, spot in enumerate(placed.spots):
        assert spot.x >= 0
        assert spot.x + spot.width <= placed.width
        for other in placed.spots[number + 1 :]:
            apart = spot.x + spot.width <= other.x or other.x + other.width <= spot.x
            assert apart or spot.y + spot.height <= other.y or other.y + other.height <= spot.y


def test_a_picture_says_all_in_text_and_escapes_it():
    hostile = Address('"><script>', 1)
    picture = picture_of({ONE: primary(), hostile: replica(ONE)}, {})
    made = drawn(sketched(picture))
    assert "<script>" not in made
    assert re.search(r'role="img" aria-label="2 servers and 0 Sentinels', made)
    assert len(set(re.findall(r' id="([^"]+)"', made))) == made.count(' id="')


def test_without_an_answer_the_instance_tells_what_it_knows():
    status = Status(mode="standalone", health="degraded", primary=str(ONE))
    sketch = sketched(Picture(status=status, at=NOW))
    assert [(box.id, box.condition) for box in sketch.boxes] == [(str(ONE), "gone")]
    assert sketched(Picture(status=Status(mode="embedded", health="healthy"), at=NOW)).boxes == ()


def test_where_no_sentinel_answers_the_primary_is_still_there():
    sketch = sketched(picture_of({}, dict.fromkeys(WATCHERS, GONE)))
    assert [box.id for box in sketch.groups[0]] == [str(ONE)]
    assert all(box.condition == "gone" for box in sketch.sentinels)


def of_features(*features, at, health="healthy"):
    return RedisStatus(
        features=features,
        mode="sentinel",
        health=health,
        reason=None if health == "healthy" else "no primary",
        primary=str(at),
        epoch=3,
        replicas=1,
        instances=1,
        sentinels=3,
        lag=None,
    )


def apart(**more):
    """The revocations have a Redis of their own, which has lost its primary."""
    tokens = of_features("tokens", "sessions", at=ONE, health="failing-over")
    limits = of_features("limits", "circuits", at=TWO)
    status = Status(
        mode="sentinel", health="failing-over", primary=str(TWO), redis=(tokens, limits)
    )
    answers = {
        tokens: ({ONE: GONE, THREE: replica(ONE, "down")}, watcher(ONE, "master,s_down")),
        limits: ({TWO: primary()}, watcher(TWO)),
    }
    sights = []
    for redis, (nodes, sentinel) in answers.items():
        (seen,) = picture_of(nodes, dict.fromkeys(WATCHERS, sentinel)).sights
        assert seen.survey is not None
        sights.append(replace(seen, features=redis.features, examination=examine(seen.survey)))
    return Picture(status=status, at=NOW, sights=tuple(sights), **more)


def test_each_redis_is_drawn_for_itself():
    lost = Interruption(features=("tokens", "sessions"), began=NOW, lost=str(ONE))
    picture = apart(ongoing=(lost,))
    tokens, limits = (sketch_of(picture, scene) for scene in picture.scenes)
    assert [box.id for box in tokens.groups[0]] == [str(ONE), str(THREE)]
    assert [box.id for box in limits.groups[0]] == [str(TWO)]
    assert (tokens.gateway.words, limits.gateway.words) == ("works alone", "decides with Redis")
    assert [tie.whole for tie in tokens.ties if tie.does == "writes"] == [False]
    assert [tie.whole for tie in limits.ties if tie.does == "writes"] == [True]


def test_an_outage_of_a_primary_that_was_never_known_is_of_its_redis_alone():
    unknown = Interruption(features=("tokens", "sessions"), began=NOW, lost="")
    picture = apart(ongoing=(unknown,))
    tokens, limits = (sketch_of(picture, scene) for scene in picture.scenes)
    assert [tie.whole for tie in tokens.ties if tie.does == "writes"] == [False]
    assert [tie.whole for tie in limits.ties if tie.does == "writes"] == [True]
    assert "Without the primary of tokens, sessions for 0" in health(picture)


def test_an_outage_of_the_revocations_alone_says_nothing_of_limits():
    def told(*features):
        return health(apart(ongoing=(Interruption(features=features, began=NOW, lost=""),)))

    limits, revocations = "limits are decided by the outage policy", "Known revocations hold"
    of_tokens, of_limits = told("tokens", "sessions"), told("limits", "circuits")
    assert (limits in of_tokens, revocations in of_tokens) == (False, True)
    assert (limits in of_limits, revocations in of_limits) == (True, False)
    assert limits in told()
    degraded = replace(apart().status.redis[0], health="degraded", reason="no answer")
    status = structs.replace(apart().status, health="degraded", redis=(degraded,))
    assert "The Redis of tokens, sessions cannot be used: no answer" in health(
        Picture(status=status, at=NOW)
    )


def test_several_redis_are_told_apart_on_the_page():
    said = sections(apart(), Role.ADMIN)
    page = "".join(said.values())
    assert len(set(re.findall(r' id="([^"]+)"', page))) == page.count(' id="')
    for whose in ("tokens, sessions", "limits, circuits"):
        assert f"<h3>The Redis of {whose}</h3>" in said["topology"]
    assert re.findall(r'value="(switchover[^"]*)"', said["topology"]) == [
        "switchover tokens",
        "switchover limits",
    ]
    assert "the Redis of tokens, sessions: " in said["doctor"], "a finding says whose it is"
    assert "Epoch, of tokens, sessions" in said["facts"]


def test_a_redis_that_was_not_examined_hides_no_finding_of_another():
    picture = apart()
    tokens, limits = picture.sights
    silent = replace(limits, examination=None, trouble="nobody answers")
    told = findings(replace(picture, sights=(tokens, silent)).scenes)
    assert "primary" in told
    assert "The Redis of limits, circuits: nobody answers" in told


def test_a_hand_over_is_of_the_redis_that_is_meant():
    wish = Wish.parse({"act": "switchover limits 10.0.0.1:6379"})
    assert wish is not None
    assert (wish.of, wish.target, wish.fault) == ("limits", "10.0.0.1:6379", None)
    assert Wish.parse(wish.fields) == wish
    common = Wish.parse({"act": "switchover 10.0.0.1:6379"})
    assert common is not None
    assert (common.of, common.target) == ("", "10.0.0.1:6379")
    contradictory = (
        {"act": "switchover", "of": "cache"},
        {"act": "switchover tokens", "of": "limits"},
        {"act": "switchover tokens", "of": ""},
        {"act": "circuit", "of": "tokens"},
    )
    assert [Wish.parse(form) for form in contradictory] == [None] * 4


def test_the_question_says_whose_redis_is_handed_over_and_what_that_means():
    of_tokens = of_switchover("a", "b", shard=False, features=("tokens", "sessions"))
    assert of_tokens.title == "Hand over from a to b, in the Redis of tokens, sessions?"
    assert "Known revocations hold. Nothing acknowledged is lost." in of_tokens.affected
    assert "Limits" not in of_tokens.affected
    of_limits = of_switchover("a", "b", shard=False, features=("limits",))
    assert "revocations" not in of_limits.affected
    of_all = of_switchover("a", "b", shard=False)
    assert of_all.title == "Hand over from a to b?"
    assert "Limits are decided meanwhile. Known revocations hold." in of_all.affected


def test_two_ways_to_one_redis_show_each_instance_once():
    fleet = tuple(Instance(name, policies="p") for name in ("a", "b"))
    picture = apart()
    same = replace(picture, sights=tuple(replace(each, fleet=fleet) for each in picture.sights))
    assert sections(same, Role.ADMIN)["facts"].count('<tr><th scope="row">') == 2
    half = replace(same, sights=(same.sights[0], replace(same.sights[1], fleet=())))
    assert "The fleet" in sections(half, Role.ADMIN)["facts"], "also while one cannot be asked"


def test_two_ways_to_one_cluster_have_primaries_of_their_own():
    both = ("tokens", "sessions"), ("limits", "circuits")
    timelines = Timelines({each: Timeline(several=True, features=each) for each in both})
    for features in both:
        for at in (ONE, TWO, THREE):
            for event in (ViewChanged(None, at, 1), LinkUp(str(at), "fast", 0.0)):
                timelines.see(structs.replace(event, features=features), NOW)
        lost = LinkLost(str(ONE), "fast", "gone", features=features)
        timelines.see(lost, NOW)
    each = (of_features(*features, at=ONE, health="degraded") for features in both)
    redis = tuple(replace(one, mode="cluster") for one in each)
    status = Status(mode="cluster", health="degraded", redis=redis)
    picture = Picture(status=status, at=NOW, ongoing=timelines.ongoing, reigns=timelines.reigns)
    assert [sketch_of(picture, scene).gateway.words for scene in picture.scenes] == [
        "works in part alone",
        "decides in part alone",
    ]


def test_a_trouble_of_asking_says_whose_redis_it_is():
    picture = apart()
    silent = tuple(replace(each, trouble="nobody answers") for each in picture.sights)
    told = topology(replace(picture, sights=silent), may_act=False)
    assert "The Redis of tokens, sessions: nobody answers; The Redis of limits" in told


LATE = Failure(Fault.UNREACHABLE, "does not answer within 1 s", late=True)


def test_who_is_late_once_says_what_it_said_before():
    before = healthy().sights[0].survey
    assert before is not None
    late = dict.fromkeys(WATCHERS, LATE)
    silent = replace(before, nodes={}, sentinels=late)
    assert steadied(before, silent) == before
    assert steadied(silent, silent) == silent, "twice is no accident"
    half = replace(before, nodes=dict(before.nodes) | {TWO: LATE, THREE: GONE})
    kept = steadied(before, half)
    assert kept.nodes == dict(before.nodes) | {THREE: GONE}, "who refuses is gone at once"


def test_what_a_lab_has_behind_a_name_is_listed_beside_the_picture():
    node = NodeStatus("redis-0", Kind.REDIS, "127.0.0.9", 7000, State.FROZEN, 1, role="primary")
    lab = LabPicture(LabStatus(Path(), Mode.MANAGED, "redis-0", (node,)))
    status = Status(mode="standalone", health="healthy", primary="redis.internal:6379")
    picture = Picture(status=status, at=NOW, lab=lab)
    sketch = sketched(picture)
    (box,) = unseen(picture, [sketch])
    assert (box.name, box.condition) == ("redis-0", "frozen")
    section = topology(picture, may_act=True)
    assert 'id="restore-redis-0"' in section
    assert 'id="restore-redis-0"' not in topology(picture, may_act=False)


def test_who_refuses_our_login_is_not_taken_for_dead():
    refusal = Failure(Fault.DENIED, "refuses the password")
    sketch = sketched(picture_of({ONE: primary(), TWO: refusal}, {}))
    conditions = {box.id: (box.condition, box.words) for box in sketch.boxes}
    assert conditions[str(TWO)] == ("unknown", "login refused")
