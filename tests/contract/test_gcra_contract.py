"""One table of cases through the model and through the script on a real server.

The server's clock cannot be set, so a case's time passes by moving the stored arrival times back.
The script reads TIME once, somewhere between two readings of ours: the model must give exactly the
script's replies and stored values for one microsecond in between, on which all keys agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from aragora_redis.errors import RefusedError
from aragora_redis.lab import Lab
from aragora_redis.link.replies import classify
from aragora_redis.rate_limit.gcra import Mode, Tat, decide, decide_all, ttl_ms
from aragora_redis.rate_limit.policy import LimitPolicy, parse_rate
from aragora_redis.scripts.catalog import load

HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Step:
    """One call: after `advance` microseconds, on `keys`, with the replies of an ideal clock."""

    advance: int
    cost: int
    keys: str
    replies: tuple[int, ...]
    mode: Mode = "check"


@dataclass(frozen=True)
class Case:
    name: str
    rate: str
    burst: int
    steps: tuple[Step, ...]
    seed: dict[str, Tat | bytes] = field(default_factory=dict)
    """Stored before the first step: an arrival time relative to now, or raw bytes."""

    @property
    def policy(self) -> LimitPolicy:
        count, period_us = parse_rate(self.rate)
        return LimitPolicy("case", count, period_us, self.burst)


S = Step
CASES = (
    Case(
        "spend, refuse, regenerate",
        "1 per 10 seconds",
        2,
        (
            S(0, 1, "a", (10_000_000,)),
            S(0, 1, "a", (20_000_000,)),
            S(0, 1, "a", (-10_000_000,)),
            S(4_000_000, 1, "a", (-6_000_000,)),
            S(6_000_000, 1, "a", (20_000_000,)),
            S(HOUR_US, 2, "a", (20_000_000,)),
        ),
    ),
    Case(
        "a fraction of a microsecond is carried",
        "3 per 2 seconds",
        3,
        (
            S(0, 1, "a", (2_000_000,)),
            S(1, 1, "a", (3_999_997,)),
            S(500_001, 1, "a", (4_499_994,)),
            S(0, 1, "ab", (-499_994, 2_000_000)),
        ),
    ),
    Case(
        "a fraction written under another rate is dropped",
        "3 per 2 seconds",
        3,
        (S(0, 1, "ab", (5_000_002, 5_000_000)),),
        {"a": Tat(1_000_000, 2), "b": Tat(1_000_000, 3)},
    ),
    Case(
        "9 per 10 seconds",
        "9 per 10 seconds",
        9,
        (
            S(0, 8, "a", (80_000_000,)),
            S(1_000_000, 2, "a", (-1_000_000,)),
            S(111_111, 2, "a", (-1,)),
            S(1, 2, "a", (89_999_992,)),
        ),
    ),
    Case(
        "700000 per second, finer than a microsecond",
        "700000/second",
        7,
        (
            S(0, 1, "aaa", (10, 20, 30)),
            S(1, 1, "a", (33,)),
            S(1, 4, "a", (66,)),
            S(0, 1, "a", (-6,)),
        ),
    ),
    Case(
        "the same key twice in a call sees itself",
        "1 per 10 seconds",
        3,
        (
            S(
                0,
                1,
                "abacaada",
                (
                    10_000_000,
                    10_000_000,
                    20_000_000,
                    10_000_000,
                    30_000_000,
                    -10_000_000,
                    10_000_000,
                    -10_000_000,
                ),
            ),
            S(0, 2, "ab", (-20_000_000, 30_000_000)),
        ),
    ),
    Case(
        "looking takes nothing",
        "1 per 10 seconds",
        3,
        (
            S(0, 0, "a", (0,)),
            S(0, 2, "a", (20_000_000,)),
            S(0, 0, "aa", (20_000_000, 20_000_000)),
        ),
    ),
    Case(
        "an hour ahead of our clock waits for no more than a burst",
        "1 per 10 seconds",
        3,
        (S(0, 1, "a", (-10_000_000,)), S(0, 0, "a", (30_000_000,))),
        {"a": Tat(HOUR_US, 0)},
    ),
    Case(
        "an hour behind is a full bucket",
        "1 per 10 seconds",
        3,
        (S(0, 1, "a", (10_000_000,)),),
        {"a": Tat(-HOUR_US, 0)},
    ),
    Case(
        "what no version wrote counts as absent",
        "1 per 10 seconds",
        3,
        (S(0, 1, "abcdefghi", (10_000_000,) * 9),),
        {
            "a": b"garbage",
            "b": b"",
            "c": b"1e300",
            "d": b"nan",
            "e": b"inf",
            "f": b"0x7fffffffffffff",
            "g": b"12:",
            "h": b"-1",
            "i": b"9999999999999999 ",
        },
    ),
    Case(
        "absurdly far ahead is an empty bucket",
        "3 per 2 seconds",
        3,
        (S(0, 0, "ab", (6_000_000, 6_000_000)),),
        {"a": b"9" * 400, "b": b"9999999999999999:2"},
    ),
    Case(
        "a charge is never refused and never leaves more than an empty bucket",
        "1 per 10 seconds",
        3,
        (
            S(0, 2, "a", (20_000_000,), "charge"),
            S(0, 3, "ab", (30_000_000, 30_000_000), "charge"),
            S(1_000_000, 1, "ab", (-9_000_000, -9_000_000)),
            S(0, 1, "aac", (30_000_000, 30_000_000, 10_000_000), "charge"),
        ),
    ),
    Case(
        "a large burst at a cost of all of it",
        "1 per day",
        52_000,
        (
            S(0, 52_000, "a", (52_000 * 24 * HOUR_US,)),
            S(0, 52_000, "a", (-52_000 * 24 * HOUR_US,)),
            S(0, 1, "a", (-24 * HOUR_US,)),
        ),
    ),
    Case(
        "a rate with a large prime count",
        "999983/second",
        1_000_000,
        (
            S(0, 999_999, "a", (999_999_000_000,)),
            S(1, 2, "a", (-17,)),
            S(1, 2, "a", (999_999_000_000 - 2 * 999_983 + 2_000_000,)),
        ),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_model_gives_the_replies_of_the_table(case: Case) -> None:
    now = 1_795_400_000_123_456
    tats = {
        key: Tat(now + seed.us, seed.frac) if isinstance(seed, Tat) else Tat.parse(seed)
        for key, seed in case.seed.items()
    }
    for step in case.steps:
        now += step.advance
        replies = []
        for key in step.keys:
            reply, tats[key] = decide(case.policy, tats.get(key), step.cost, now, step.mode)
            replies.append(reply)
        assert tuple(replies) == step.replies


class Observed(NamedTuple):
    """What a call came to, and the instants at which it may have run."""

    instants: range
    replies: list[Any]
    stored: dict[str, bytes | None]

    def is_outcome(self, of: Callable[[int], tuple[Any, dict[str, bytes | None]]]) -> bool:
        """Whether the model comes to the same at one of these instants."""
        return any((self.replies, self.stored) == of(now) for now in self.instants)


def _micros(time: tuple[int, int]) -> int:
    return int(time[0]) * 1_000_000 + int(time[1])


def _arguments(
    limits: Sequence[tuple[LimitPolicy, int]], mode: str, not_after: int = 0
) -> tuple[int | str, ...]:
    shared = [
        part
        for policy, cost in limits
        for part in (policy.count, policy.period_us, policy.burst, cost)
    ]
    return not_after, mode, *shared


class Server:
    """The script on a real server, and what it has stored."""

    def __init__(self, client: redis.Redis) -> None:
        self.client: Any = client
        self.script = load("gcra")
        self.sha = client.script_load(self.script.source)

    def time_us(self) -> int:
        return _micros(self.client.time())

    def run(
        self, policy: LimitPolicy, cost: int, keys: str, *, mode: str = "check", not_after: int = 0
    ) -> list[Any]:
        return self.run_all([(policy, cost)], keys, mode=mode, not_after=not_after)

    def run_all(
        self,
        limits: Sequence[tuple[LimitPolicy, int]],
        keys: str,
        *,
        mode: str = "check",
        not_after: int = 0,
    ) -> list[Any]:
        args = _arguments(limits, mode, not_after)
        reply: list[Any] = self.client.evalsha(self.sha, len(keys), *keys, *args)
        return reply

    def stored(self, keys: str) -> dict[str, bytes | None]:
        return {key: self.client.get(key) for key in set(keys)}

    def observe(
        self, limits: Sequence[tuple[LimitPolicy, int]], keys: str, *, mode: str = "check"
    ) -> Observed:
        """One call, in one step: what it leaves may expire a second later.

        A test that is held up between a call and a look would find nothing.
        """
        together = self.client.pipeline(transaction=True)
        together.time()
        together.evalsha(self.sha, len(keys), *keys, *_arguments(limits, mode))
        together.mget(*keys)
        together.time()
        before, replies, values, after = together.execute(raise_on_error=False)
        stored = dict(zip(keys, values, strict=True))
        return Observed(range(_micros(before), _micros(after) + 1), replies, stored)

    def move_back(self, keys: str, micros: int) -> None:
        for key, value in self.stored(keys).items():
            tat = Tat.parse(value)
            if tat is not None and tat.us > micros:
                self.client.set(key, tat._replace(us=tat.us - micros).encode())


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    lab = Lab.create(tmp_path_factory.mktemp("gcra") / "lab", "standalone", ports="free")
    lab.start()
    try:
        node = lab.node("redis-0")
        with redis.Redis(port=node.port, password=lab.password(node)) as connected:
            yield connected
    finally:
        lab.stop()


@pytest.fixture
def server(client: redis.Redis) -> Iterator[Server]:
    client.flushall()
    yield Server(client)
    client.config_set("maxmemory", 0)
    client.config_set("min-replicas-to-write", 0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_script_agrees_with_the_model(case: Case, server: Server) -> None:
    for key, seed in case.seed.items():
        value = seed
        if isinstance(seed, Tat):
            value = Tat(server.time_us() + seed.us, seed.frac).encode()
        server.client.set(key, value)
    for step in case.steps:
        server.move_back(step.keys, step.advance)
        before = server.stored(step.keys)
        observed = server.observe([(case.policy, step.cost)], step.keys, mode=step.mode)
        assert observed.is_outcome(partial(model_outcome, case.policy, step, before)), observed


def model_outcome(
    policy: LimitPolicy, step: Step, before: dict[str, bytes | None], now: int
) -> tuple[list[int], dict[str, bytes | None]]:
    tats = {key: Tat.parse(value) for key, value in before.items()}
    after = dict(before)
    replies = []
    for key in step.keys:
        reply, tat = decide(policy, tats[key], step.cost, now, step.mode)
        if tat is not None and tat is not tats[key]:
            tats[key], after[key] = tat, tat.encode()
        replies.append(reply)
    return replies, after


POLICY = LimitPolicy("case", 1, 10_000_000, 3)


def test_bucket_is_kept_until_it_is_full_and_a_second_more(server: Server) -> None:
    earliest = server.time_us()
    assert server.run(POLICY, 2, "a") == [20_000_000]
    kept_ms = server.client.pttl("a")
    elapsed_ms = (server.time_us() - earliest) / 1000
    assert ttl_ms(POLICY, 20_000_000) == 21_000
    assert 21_000 - elapsed_ms - 1 <= kept_ms <= 21_000


def test_key_that_comes_again_is_stored_once(server: Server) -> None:
    server.client.config_resetstat()
    server.run(POLICY, 1, "aabab")
    assert server.client.info("commandstats")["cmdstat_set"]["calls"] == 2


def test_past_not_after_nothing_runs(server: Server) -> None:
    now = server.time_us()
    with pytest.raises(redis.ResponseError, match=r"^LATE \d{16}$"):
        server.run(POLICY, 1, "a", not_after=now - 1)
    assert server.client.get("a") is None
    assert server.run(POLICY, 1, "a", not_after=now + HOUR_US) == [10_000_000]


def code_of(error: Any) -> str:
    """redis-py cuts off the code that it makes a class of."""
    if isinstance(error, redis.exceptions.OutOfMemoryError):
        return "OOM"
    classified = classify(str(error))
    assert isinstance(classified, RefusedError)
    return classified.code


@pytest.mark.parametrize(
    ("setting", "code"), [("min-replicas-to-write", "NOREPLICAS"), ("maxmemory", "OOM")]
)
def test_refused_write_marks_its_key_alone(server: Server, setting: str, code: str) -> None:
    server.client.set("b", b"%d" % (server.time_us() + HOUR_US))
    before = server.stored("abc")
    server.client.config_set(setting, 1)
    replies = server.run(POLICY, 1, "abca")
    looked = server.run(POLICY, 0, "abc")
    server.client.config_set(setting, 0)
    assert [code_of(replies[position]) for position in (0, 2, 3)] == [code] * 3
    assert replies[1] == -10_000_000
    assert looked == [0, 30_000_000, 0]
    assert server.stored("abc") == before


def test_wrong_type_is_replaced(server: Server) -> None:
    server.client.hset("a", "field", "value")
    assert server.run(POLICY, 1, "a") == [10_000_000]


# --- several limits as one --------------------------------------------------------------

SLOW = LimitPolicy("slow", 1, 10_000_000, 3)
FRACTIONAL = LimitPolicy("fractional", 3, 2_000_000, 4)
FAST = LimitPolicy("fast", 700_000, 1_000_000, 7)


def joint_outcome(
    limits: Sequence[tuple[LimitPolicy, int]],
    keys: str,
    before: dict[str, bytes | None],
    now: int,
) -> tuple[list[list[int]], dict[str, bytes | None]]:
    tats = {key: Tat.parse(value) for key, value in before.items()}
    after, replies = dict(before), []
    for first in range(0, len(keys), len(limits)):
        item = keys[first : first + len(limits)]
        asked = [
            (policy, tats[key], cost) for (policy, cost), key in zip(limits, item, strict=True)
        ]
        decided = decide_all(asked, now)
        replies.append([reply for reply, _ in decided])
        for key, (_, tat) in zip(item, decided, strict=True):
            if tat is not None and tat is not tats[key]:
                tats[key], after[key] = tat, tat.encode()
    return replies, after


def test_one_refusal_leaves_all_buckets_as_they_are(server: Server) -> None:
    limits = ((SLOW, 2), (FAST, 1))
    assert server.run_all(limits, "ab") == [[20_000_000, 10]]
    before = server.stored("abc")
    server.client.config_resetstat()
    [[refused, untouched]] = server.run_all(limits, "ac")
    assert -10_000_000 <= refused < -9_000_000
    assert untouched == 0
    assert server.stored("abc") == before
    assert "cmdstat_set" not in server.client.info("commandstats"), "nothing is written"


def test_refused_write_of_one_key_is_the_answer_of_its_item(server: Server) -> None:
    server.client.config_set("min-replicas-to-write", 1)
    replies = server.run_all(((SLOW, 1), (FAST, 0)), "abcd")
    server.client.config_set("min-replicas-to-write", 0)
    assert [code_of(reply) for reply in replies] == ["NOREPLICAS"] * 2


# --- any sequence, in step --------------------------------------------------------------

POLICIES = (SLOW, FRACTIONAL, FAST)


class Pair(RuleBasedStateMachine):
    """Whatever is called, the script gives what the model gives for a time in between."""

    server: Server

    def __init__(self) -> None:
        super().__init__()
        self.server.client.flushall()

    @rule(
        policy=st.sampled_from(POLICIES),
        cost=st.integers(0, 3),
        keys=st.text("abc", min_size=1, max_size=5),
        mode=st.sampled_from(("check", "check", "charge")),
        passed=st.sampled_from((0, 0, 1, 333_333, 5_000_000, HOUR_US, -HOUR_US)),
    )
    def call(self, policy: LimitPolicy, cost: int, keys: str, mode: Mode, passed: int) -> None:
        self.server.move_back("abc", passed)
        before = self.server.stored(keys)
        observed = self.server.observe([(policy, cost)], keys, mode=mode)
        step = Step(passed, cost, keys, (), mode)
        expected = partial(model_outcome, policy, step, before)
        assert observed.is_outcome(expected), (observed, before)

    @rule(
        costs=st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 7)),
        items=st.lists(st.sampled_from(("abc", "def", "aec", "dbf")), min_size=1, max_size=4),
        passed=st.sampled_from((0, 0, 1, 333_333, 5_000_000, -HOUR_US)),
    )
    def call_all(self, costs: tuple[int, int, int], items: list[str], passed: int) -> None:
        keys, limits = "".join(items), list(zip(POLICIES, costs, strict=True))
        self.server.move_back("abcdef", passed)
        before = self.server.stored(keys)
        observed = self.server.observe(limits, keys)
        expected = partial(joint_outcome, limits, keys, before)
        assert observed.is_outcome(expected), (observed, before)

    @rule(key=st.sampled_from("abc"), value=st.sampled_from((b"", b"x", b"-5", b"1:", b"9" * 40)))
    def spoil(self, key: str, value: bytes) -> None:
        """What no version has written counts as absent."""
        self.server.client.set(key, value)


def test_any_sequence_of_calls_has_one_outcome(server: Server) -> None:
    machine = type("GcraPair", (Pair,), {"server": server})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
