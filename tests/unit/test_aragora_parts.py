"""What the seams for Aragora decide, with stand-ins for its classes and a state in memory."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aragora_redis.aragora import selfcheck
from aragora_redis.aragora.blacklist import backend, other_text, token_list
from aragora_redis.aragora.breakers import breaker
from aragora_redis.aragora.handler_limits import decided_together, name_of
from aragora_redis.aragora.identity import claims_of
from aragora_redis.aragora.limits import limit_name, with_aragora
from aragora_redis.aragora.lockout import tracker
from aragora_redis.aragora.rate_limiter import SharedBucket, shared_limiter
from aragora_redis.aragora.seam import Finding, Where
from aragora_redis.aragora.shared import Shared
from aragora_redis.aragora.versions import Checked
from aragora_redis.cli.run_aragora import split
from aragora_redis.policies import load_policies
from aragora_redis.settings import from_env
from aragora_redis.sync import SharedState
from aragora_redis.tokens.identity import token_id

POLICIES = with_aragora(load_policies(None))


@pytest.fixture(scope="module")
def shared():
    with SharedState(from_env({}), policies=POLICIES) as state:
        yield Shared(state)


@pytest.fixture(scope="module")
def outage():
    """A fleet that cannot be asked: there is no Redis, and never was."""
    settings = from_env({"ARAGORA_REDIS_URL": "redis://127.0.0.1:1"})
    state = SharedState(settings, policies=POLICIES)
    state.start()
    yield Shared(state)
    state.close()


def part(data):
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(signature=b"\x07" * 32, **claims):
    return f"{part({'alg': 'HS256'})}.{part(claims)}.{part(signature)}"


# --- identity -------------------------------------------------------------------------------


@given(st.binary(min_size=32, max_size=32), st.integers(0, 3))
def test_all_texts_of_a_signature_are_one_token(signature, unused):
    text = token(signature, sub="u")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet[alphabet.index(text[-1]) | unused]
    texts = (text[:-1] + last, text + "=", text + "!!!!", text.replace("-", "+").replace("_", "/"))
    head, _, _ = text.rpartition(".")
    for other in texts:
        if other.startswith(head):  # the first two parts are signed as they are written
            assert claims_of(other) == claims_of(text)


def test_other_tokens_have_other_names():
    told = [claims_of(token(sub=user, iat=when)) for user in ("u", "v") for when in (1, 2)]
    assert len({claims["jti"] for claims in told}) == 4


def test_it_is_named_as_the_gateway_and_the_command_line_name_it():
    text = token(sub="u", iat=7)
    assert claims_of(text)["jti"] == token_id(text, {})


def test_what_a_user_was_issued_is_revoked_by_one_cut_off(shared):
    text = token(sub="cut off", iat=int(time.time()) - 5)
    assert not shared.refuses(claims_of(text))
    shared.state.tokens.revoke_user("cut off")
    assert shared.refuses(claims_of(text))


def test_a_token_with_an_id_is_that_id_and_its_user_counts():
    assert claims_of(token(jti="a-1", sub="u", iat=7)) == {"jti": "a-1", "sub": "u", "iat": 7}


@pytest.mark.parametrize(
    "text",
    ["", "a", "a.b", "...", "a.b.c.d", "é.é.é", "\ud800.a.a", f"{'[' * 9999}", part(b"[") * 3],
    ids=range(9),
)
def test_what_is_no_token_has_an_identity_all_the_same(text, shared):
    assert claims_of(text)["jti"].startswith(("text:", "sig:"))
    assert shared.refuses(claims_of(text)) is False


@pytest.mark.parametrize(
    "claims",
    [
        {"jti": ""},
        {"jti": 5},
        {"jti": "\0"},
        {"sub": 5},
        {"sub": "u", "iat": True},
        {"jti": "x" * 9999},
    ],
    ids=range(6),
)
def test_claims_that_cannot_be_judged_are_left_out(claims, shared):
    assert shared.refuses(claims_of(token(**claims))) is False


# --- limits ---------------------------------------------------------------------------------


@given(st.integers(-5, 20_000), st.integers(-5, 40_000))
def test_a_limit_never_lets_more_through_than_was_asked_for(per_minute, burst):
    name = limit_name(per_minute, burst)
    if per_minute < 1 or burst < 1:
        assert name is None
        return
    policy = POLICIES.limits[name or ""]
    assert policy.count * 60_000_000 <= per_minute * policy.period_us
    assert policy.burst <= burst
    assert policy.burst >= min(burst, per_minute, 2000) * 0.4


@pytest.mark.parametrize("per_minute", [1, 2, 3, 5, 10, 20, 30, 60, 100, 120, 150, 200, 300, 1000])
def test_what_aragora_asks_for_is_there_exactly(per_minute):
    for burst in (per_minute, 2 * per_minute):
        policy = POLICIES.limits[limit_name(per_minute, burst) or ""]
        assert policy.burst == burst
        assert policy.count * 60_000_000 == per_minute * policy.period_us


# --- blacklist ------------------------------------------------------------------------------


class Listed:
    _instance = None

    def __new__(cls):
        if cls._instance is None:
            cls._instance = object.__new__(cls)
        return cls._instance

    def __init__(self):
        self.texts = set()

    def revoke_token(self, text):
        self.texts.add(text)
        return True

    def is_revoked(self, text):
        return text in self.texts


@dataclass
class Payload:
    exp: float


def decode(_text):
    return Payload(time.time() + 600)


def test_a_token_revoked_by_one_is_revoked_for_all_under_each_text(shared):
    one, other = (token_list(Listed, shared, decode) for _ in range(2))
    text = token(b"\x01" * 32, sub="u")
    assert not other.is_revoked(text)
    assert one.revoke_token(text)
    assert other.is_revoked(text)
    assert other.is_revoked(other_text(text))
    assert not other.is_revoked(token(b"\x02" * 32, sub="v"))


def test_an_invalid_token_revokes_nothing(shared):
    text = token(b"\x03" * 32, sub="w")
    token_list(Listed, shared, lambda _: None).revoke_token(text)
    assert not shared.refuses(claims_of(text))


def test_the_backend_notes_only_what_is_known_to_be_revoked(shared, outage):
    held = backend(object, shared)
    held.add("digest", time.time() + 600)
    assert held.contains("digest")
    assert not held.contains("another")
    assert not backend(object, outage).contains("another")


def test_a_token_that_nobody_can_vouch_for_is_refused(outage):
    assert token_list(Listed, outage, decode).is_revoked(token())


# --- rate limits ----------------------------------------------------------------------------


class Inner:
    rate_per_minute = 5
    burst_size = 5
    remaining = 3

    def __init__(self):
        self.taken = 0

    def consume(self, tokens):
        self.taken += tokens
        return True

    def get_retry_after(self):
        return 1.5


class Limiter:
    def __init__(self, inner=None):
        self.inner = inner or Inner()

    def _get_or_create_ip_bucket(self, _ip):
        return self.inner


def test_two_limiters_share_a_bucket(shared):
    made = shared_limiter(Limiter)
    one, other = (made(shared, "a") for _ in range(2))
    admitted = [
        each._get_or_create_ip_bucket("203.0.113.1").consume(1) for each in (one, other) * 4
    ]
    assert admitted == [True] * 5 + [False] * 3
    bucket = made(shared, "a")._get_or_create_ip_bucket("203.0.113.1")
    assert not bucket.consume(1)
    assert bucket.remaining == 0
    assert 0 < bucket.get_retry_after() <= 12
    assert made(shared, "b")._get_or_create_ip_bucket("203.0.113.1").consume(1)


def test_what_nobody_decides_is_decided_in_memory(outage):
    inner = Inner()
    bucket = SharedBucket(outage, limit_name(5, 5), "x", inner)
    assert bucket.consume(1)
    assert (inner.taken, bucket.remaining, bucket.get_retry_after()) == (1, 3, 1.5)


@dataclass
class Simple:
    rpm: int = 5


def test_a_handler_limit_is_never_looser_than_alone(shared, outage):
    limiter = Simple()
    both = decided_together(lambda *_: True, shared, lambda _: "login")
    assert [both(limiter, "k") for _ in range(7)] == [True] * 5 + [False] * 2
    assert not decided_together(lambda *_: False, shared, lambda _: "login")(limiter, "other")
    assert decided_together(lambda *_: True, outage, lambda _: "login")(limiter, "k")
    assert decided_together(lambda *_: True, shared, lambda _: None)(limiter, "k")


def test_a_limiter_is_called_by_what_holds_it():
    named, held, lost = Simple(), Simple(), Simple()

    class Module:
        _limiter = held

    modules = [("aragora.x", Module)]
    assert name_of(named, {"auth_login": named}, modules) == "auth_login"
    assert name_of(held, {}, modules) == "aragora.x._limiter"
    assert name_of(lost, {"auth_login": named}, modules) is None


async def test_a_coroutine_may_ask_too(shared):
    decision = shared.take(limit_name(5, 5), "from a coroutine")
    assert decision.remaining == 4


async def test_a_coroutine_may_ask_once_the_main_thread_has_ended(shared, monkeypatch):
    """Then Python's own executors take nothing any more, though others serve on."""
    monkeypatch.setattr("concurrent.futures.thread._shutdown", True)
    assert Shared(shared.state).held_for("asked late") == 0


def test_a_subject_of_any_length_is_counted(shared):
    assert shared.take(limit_name(1, 1), "x" * 5000).allowed
    assert not shared.take(limit_name(1, 1), "x" * 5000).allowed
    assert shared.take(limit_name(1, 1), "").allowed


# --- lockout --------------------------------------------------------------------------------


@dataclass
class Entry:
    attempts: int = 0

    def get_remaining_seconds(self):
        return 60 if self.attempts >= 5 else 0


class Memory(dict[str, Entry]):
    def get_entry(self, key):
        return self.get(key)

    def delete_entry(self, key):
        self.pop(key, None)


class Tracker:
    def __init__(self, use_redis):
        assert not use_redis
        self._memory_backend = Memory()

    def _email_key(self, email):
        return f"email:{email}"

    def _ip_key(self, ip):
        return f"ip:{ip}"

    def _calculate_lockout_duration(self, attempts):
        return 60 if attempts >= 5 else None

    def record_failure(self, email=None, ip=None):  # noqa: ARG002
        entry = self._memory_backend.setdefault(f"email:{email}", Entry())
        entry.attempts += 1
        return entry.attempts, self._calculate_lockout_duration(entry.attempts)

    def reset(self, email=None, ip=None):  # noqa: ARG002
        self._memory_backend.clear()

    def admin_unlock(self, email=None, ip=None, user_id=None):  # noqa: ARG002
        return bool(self._memory_backend.pop(f"email:{email}", None))


def test_failures_at_two_instances_lock_out_at_both(shared):
    one, other = tracker(Tracker, shared), tracker(Tracker, shared)
    who = {"email": "a", "ip": "203.0.113.5"}
    counted = [each.record_failure(**who) for each in (one, other, one, other)]
    assert counted == [(n, None) for n in (1, 2, 3, 4)]
    assert not one.is_locked(**who)
    assert one.record_failure(**who) == (5, 60)
    assert one.is_locked(**who)
    assert other.is_locked(**who)
    assert other.is_locked(ip="203.0.113.5")
    assert 55 < other.get_remaining_time(**who) <= 60
    assert other.admin_unlock(**who)
    assert not one.is_locked(**who)
    assert one.get_remaining_time() == 0


def test_a_lockout_without_redis_is_that_of_this_instance(outage):
    alone = tracker(Tracker, outage)
    assert [alone.record_failure(email="b")[0] for _ in range(5)] == [1, 2, 3, 4, 5]
    assert alone.is_locked(email="b")
    alone.reset(email="b")
    assert not alone.is_locked(email="b")


class Interrupted(Shared):
    """A fleet that cannot be asked for a while."""

    away = True

    def take(self, policy, subject, cost=1):
        return None if self.away else super().take(policy, subject, cost)


def test_a_lockout_of_an_outage_becomes_one_of_the_fleet(shared):
    fleet = Interrupted(shared.state)
    one, other = tracker(Tracker, fleet), tracker(Tracker, shared)
    for _ in range(5):
        one.record_failure(email="c")
    fleet.away = False
    assert one.is_locked(email="c")
    assert 55 < other.get_remaining_time(email="c") <= 60
    assert other.admin_unlock(email="c")
    assert not one.is_locked(email="c")


def test_a_lockout_of_an_outage_that_was_lifted_there_stays_so(shared):
    fleet = Interrupted(shared.state)
    one = tracker(Tracker, fleet)
    for _ in range(5):
        one.record_failure(email="d")
    one.reset(email="d")
    fleet.away = False
    assert not one.is_locked(email="d")


def test_a_lockout_that_was_lifted_elsewhere_does_not_come_back(shared):
    fleet = Interrupted(shared.state)
    fleet.away = False
    one, other = tracker(Tracker, fleet), tracker(Tracker, shared)
    for _ in range(5):
        one.record_failure(email="e")
    assert other.admin_unlock(email="e")
    assert not one.is_locked(email="e")
    fleet.away = True
    assert one.record_failure(email="e") == (1, None)
    fleet.away = False
    assert not one.is_locked(email="e")
    assert not other.is_locked(email="e")


class Full(Shared):
    """A fleet whose Redis can be read, and takes nothing."""

    def take(self, policy, subject, cost=1):
        return None if cost else super().take(policy, subject, cost)


def test_failures_that_redis_refuses_to_count_come_to_a_lockout_too(shared):
    alone = tracker(Tracker, Full(shared.state))
    for _ in range(5):
        assert not alone.is_locked(email="f")
        alone.record_failure(email="f")
    assert alone.is_locked(email="f")


# --- breakers -------------------------------------------------------------------------------


@dataclass
class Breaker:
    name: str = "default"
    failure_threshold: int = 2
    cooldown_seconds: float = 30.0
    failures: dict[str | None, int] = field(default_factory=dict)

    def __post_init__(self):
        pass

    def record_failure(self, entity=None):
        self.failures[entity] = self.failures.get(entity, 0) + 1
        return self.failures[entity] == self.failure_threshold

    def record_success(self, entity=None):
        self.failures.pop(entity, None)

    def reset(self, entity=None):  # noqa: ARG002
        self.failures.clear()

    def get_status(self, entity=None):
        return "open" if self.failures.get(entity, 0) >= self.failure_threshold else "closed"

    def can_proceed(self, entity=None):
        return self.get_status(entity) == "closed"

    is_available = can_proceed

    def cooldown_remaining(self, _entity=None):
        return 0.0

    @property
    def is_open(self):
        return not self.can_proceed()

    @is_open.setter
    def is_open(self, value):
        self.failures[None] = self.failure_threshold if value else 0


@pytest.fixture
def looks(monkeypatch):
    monkeypatch.setattr("aragora_redis.aragora.breakers.LOOK_EVERY", 0.0)


@pytest.mark.usefixtures("looks")
@pytest.mark.parametrize("entity", [None, "claude"])
def test_a_breaker_that_opens_is_open_everywhere(shared, entity):
    made = breaker(Breaker, shared)
    one, other = made(f"upstream-{entity}"), made(f"upstream-{entity}")
    one.record_failure(entity)
    assert other.can_proceed(entity)
    assert one.record_failure(entity)
    assert not other.can_proceed(entity)
    assert other.get_status(entity) == "open"
    assert 25 < other.cooldown_remaining(entity) <= 30
    assert made("another").can_proceed(entity)
    one.record_success(entity)
    assert other.can_proceed(entity)


@pytest.mark.usefixtures("looks")
def test_a_breaker_is_held_by_hand_too_and_reset_for_all(shared):
    made = breaker(Breaker, shared)
    one, other = made("by-hand"), made("by-hand")
    one.is_open = True
    assert other.is_open
    one.reset()
    assert not other.is_open


def test_breakers_without_a_name_are_not_each_other(shared):
    made = breaker(Breaker, shared)
    one, other = made(), made()
    one.is_open = True
    assert other.can_proceed()


@pytest.mark.usefixtures("looks")
def test_a_breaker_known_to_be_open_stays_so_in_an_outage(outage, monkeypatch):
    made = breaker(Breaker, outage)("gone")
    assert made.can_proceed()
    monkeypatch.setattr(outage, "held_for", lambda _: 20.0)
    assert not made.can_proceed()
    monkeypatch.setattr(outage, "held_for", lambda _: None)
    assert not made.can_proceed()


# --- self-check -----------------------------------------------------------------------------


class Fake:
    feature = "a feature"
    checked = Checked("2.11", "2.12")

    def __init__(self, error=None, where=Where.REDIS):
        self.error, self.where, self.installed = error, where, False

    def install(self):
        if self.error:
            raise self.error
        self.installed = True

    def verify(self):
        if self.where is Where.REDIS:
            return Finding(self.feature, self.where, "seen")
        raise ValueError


@pytest.mark.parametrize(
    ("version", "inside"),
    [
        ("2.11", True),
        ("2.11.1", True),
        ("2.12", False),
        ("2.10.9", False),
        ("3", False),
        ("x", False),
    ],
)
def test_a_seam_is_used_with_the_versions_it_was_checked_against(version, inside):
    assert (version in Checked("2.11", "2.12")) is inside
    seam = Fake()
    (placed,) = selfcheck.install([seam], version, any_version=False)
    assert seam.installed is inside
    (found,) = selfcheck.verify([placed])
    assert (found.where is Where.REDIS) is inside
    assert selfcheck.whole([found]) is inside
    selfcheck.install([seam], version, any_version=True)
    assert seam.installed


def test_what_was_not_seen_is_not_claimed(monkeypatch):
    monkeypatch.setattr(selfcheck, "PAUSE", 0.0)
    gone = selfcheck.install([Fake(AttributeError("no such place"))], "2.11.1", any_version=False)
    failing = selfcheck.verify([*gone, Fake(where=Where.UNSEEN)])
    assert [each.where for each in failing] == [Where.REFUSED, Where.UNSEEN]
    assert not selfcheck.whole(failing)
    assert "in memory of each instance" in selfcheck.lines(failing)[-1]


def test_our_options_come_first():
    assert split(["--self-check", "--offline", "--any-version"]) == (
        ["--self-check"],
        ["--offline", "--any-version"],
    )


def test_it_needs_only_the_core():
    extras = ("typer", "rich", "jinja2", "prometheus_client", "jwt", "cryptography", "starlette")
    code = f"""
import sys
sys.modules.update(dict.fromkeys({extras}))
sys.argv[1:] = ["run-aragora", "--help"]
from aragora_redis.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: aragora-redis run-aragora")
