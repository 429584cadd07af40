"""Which label is written when, what Kubernetes is asked, and what the keeper says of itself."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aragora_redis.address import Address
from aragora_redis.cli import label_keeper as command
from aragora_redis.cli.app import run
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import Ran, SettingsError
from aragora_redis.ops.label_keeper.cluster import Cluster, ClusterError, Session
from aragora_redis.ops.label_keeper.keeper import LabelKeeper
from aragora_redis.ops.label_keeper.labels import MASTER, REPLICA, Decision, Patch, Pod, decide
from aragora_redis.ops.label_keeper.probes import IGNORANT, STUCK, WRONG, Vitals, answer
from aragora_redis.ops.label_keeper.witness import Unknown

HOST = "redis-{}.redis.aragora.svc.cluster.local"
ROLES = st.sampled_from([MASTER, REPLICA, None, "other"])


def pod(number, role=None, version="1", ips=()):
    return Pod(f"redis-{number}", version, role, frozenset(ips))


def named(number):
    return Address(HOST.format(number), 6379)


def decided(*pods, primary=0, unanswered=None):
    decision = decide(pods, named(primary), unanswered or {})
    return decision.primary, [(patch.pod, patch.role) for patch in decision.patches]


# --- which label is written when -------------------------------------------------------------


def test_nothing_is_written_where_nothing_differs():
    assert decided(pod(0, MASTER), pod(1, REPLICA)) == ("redis-0", [])


def test_the_old_one_loses_the_label_before_the_new_one_gets_it():
    moved = decided(pod(0, REPLICA), pod(1, MASTER), pod(2), primary=0)
    assert moved == ("redis-0", [("redis-1", REPLICA), ("redis-0", MASTER), ("redis-2", REPLICA)])


def test_who_is_proven_not_to_be_primary_loses_the_label_although_nobody_gets_it():
    assert decided(pod(0, MASTER), pod(1), primary=7) == (None, [("redis-0", REPLICA)])


def test_a_write_that_may_still_come_is_outrun():
    """The late one is for version 1: any change makes it fail, and only a change does."""
    late = {"redis-0": "1"}
    off, on = ("redis-0", None), ("redis-1", MASTER)
    assert decided(pod(0, REPLICA), pod(1), primary=1, unanswered=late)[1] == [off, on]
    assert decided(pod(0), pod(1), primary=1, unanswered=late)[1] == [("redis-0", REPLICA), on]
    assert decided(pod(0, REPLICA, "2"), pod(1), primary=1, unanswered=late)[1] == [on]


@pytest.mark.parametrize(
    ("host", "found"),
    [
        (HOST.format(1), "redis-1"),
        ("redis-1.redis", "redis-1"),
        ("redis-1", "redis-1"),
        ("10.0.0.2", "redis-1"),
        ("fd00:0::2", "redis-1"),
        ("10.0.0.9", None),
        ("10.0.0.5", None),
        ("redis-10.redis", None),
        ("redis.redis-1", None),
    ],
)
def test_a_pod_is_known_by_its_name_or_its_ip(host, found):
    pods = [
        pod(0, ips=("10.0.0.1", "10.0.0.5")),
        pod(1, ips=("10.0.0.2", "fd00::2")),
        pod(2, ips=("10.0.0.5",)),
    ]
    assert decide(pods, Address(host, 6379), {}).primary == found


class Kubernetes:
    """Labels and versions as the API server keeps them."""

    def __init__(self, pods):
        self.pods = {each.name: each for each in pods}

    def take(self, patch):
        """Whether it was taken. A change makes another version, and what is the same makes none."""
        held = self.pods[patch.pod]
        if held.version != patch.version:
            return False
        if held.role != patch.role:
            self.pods[patch.pod] = replace(
                held, role=patch.role, version=str(int(held.version) + 1)
            )
        return True

    @property
    def masters(self):
        return sum(each.role == MASTER for each in self.pods.values())


@given(roles=st.lists(ROLES, min_size=1, max_size=5), primary=st.integers(0, 5))
def test_at_no_moment_are_there_two_and_at_the_end_all_is_right(roles, primary):
    kubernetes = Kubernetes(pod(number, role) for number, role in enumerate(roles))
    most = max(1, kubernetes.masters)  # somebody else may have made two
    for patch in decide(kubernetes.pods.values(), named(primary), {}).patches:
        if patch.role == MASTER:
            most = 1
        assert kubernetes.take(patch)
        assert kubernetes.masters <= most
    if primary < len(roles):
        assert [each.role for each in kubernetes.pods.values()] == [
            MASTER if number == primary else REPLICA for number in range(len(roles))
        ]
        assert decide(kubernetes.pods.values(), named(primary), {}).patches == ()
    else:
        assert kubernetes.masters == 0


@given(data=st.data(), roles=st.lists(st.sampled_from([REPLICA, None]), min_size=2, max_size=4))
def test_no_late_write_makes_a_second_master(data, roles):
    """Looks end anywhere, primaries change, and a write that got no answer may come at any time."""
    kubernetes = Kubernetes(pod(number, role) for number, role in enumerate(roles))
    late: list[Patch] = []
    unanswered: dict[str, str] = {}
    for _ in range(6):
        seen = dict(kubernetes.pods)
        unanswered = {
            name: version for name, version in unanswered.items() if seen[name].version == version
        }
        primary = data.draw(st.integers(0, len(roles) - 1))
        for patch in decide(seen.values(), named(primary), unanswered).patches:
            fate = data.draw(st.sampled_from(["done", "done", "late", "refused"]))
            if fate == "late":
                late.append(patch)
                if patch.role == MASTER:
                    unanswered[patch.pod] = patch.version
            if fate != "done" or not kubernetes.take(patch):
                break
            if late and data.draw(st.booleans()):
                kubernetes.take(late.pop(data.draw(st.integers(0, len(late) - 1))))
            assert kubernetes.masters <= 1


# --- what Kubernetes is asked ----------------------------------------------------------------


def session(tmp_path, respond, token="a-token\n"):  # noqa: S107 - of a test
    (tmp_path / "token").write_text(token)
    client = httpx.AsyncClient(
        base_url="https://kubernetes/api/v1/namespaces/aragora/",
        transport=httpx.MockTransport(respond),
    )
    return Session(client, tmp_path / "token")


@pytest.mark.parametrize(
    ("status", "headers", "ran", "after"),
    [
        (401, {}, Ran.NO, 0),
        (403, {}, Ran.NO, 0),
        (404, {}, Ran.NO, 0),
        (409, {}, Ran.NO, 0),
        (410, {}, Ran.NO, 0),
        (429, {"Retry-After": "7"}, Ran.NO, 7),
        (429, {"Retry-After": "99999"}, Ran.NO, 60),
        (429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, Ran.NO, 0),
        (302, {"Location": "https://elsewhere"}, Ran.UNKNOWN, 0),
        (500, {}, Ran.UNKNOWN, 0),
        (503, {"Retry-After": "2"}, Ran.UNKNOWN, 2),
    ],
)
async def test_a_refusal_says_whether_it_was_done_and_when_to_come_again(
    tmp_path, status, headers, ran, after
):
    asked = session(tmp_path, lambda _: httpx.Response(status, headers=headers))
    with pytest.raises(ClusterError, match=str(status)) as refused:
        await asked.label(Patch("redis-0", "1", MASTER))
    assert (refused.value.ran, refused.value.retry_after) == (ran, after)
    assert "a-token" not in str(refused.value) + repr(refused.value) + repr(asked)


@pytest.mark.parametrize(
    "body", ["", "<html>", "[]", "{}", '{"items": [{}]}', '{"items": 3}', "\udcff", "null"]
)
async def test_garbage_is_no_list_of_pods(tmp_path, body):
    said = body.encode("utf-8", "surrogateescape")
    asked = session(tmp_path, lambda _: httpx.Response(200, content=said))
    with pytest.raises(ClusterError, match="no list of pods"):
        await asked.pods()


async def test_an_answer_without_end_is_not_kept(tmp_path, monkeypatch):
    async def endless():
        while True:
            yield b" " * 4096
            await asyncio.sleep(0)

    monkeypatch.setattr("aragora_redis.ops.label_keeper.cluster.MOST_BYTES", 100_000)
    asked = session(tmp_path, lambda _: httpx.Response(200, content=endless()))
    with pytest.raises(ClusterError, match="too much"):
        await asked.pods()


@pytest.mark.parametrize("token", ["", " \n", "two\nlines", "näh", "\x00"])
async def test_a_file_without_a_token_is_told_without_what_it_holds(tmp_path, token):
    asked = session(tmp_path, lambda _: httpx.Response(200), token=token)
    with pytest.raises(ClusterError, match="holds no token"):
        await asked.pods()


async def test_a_token_that_is_gone_is_told(tmp_path):
    asked = session(tmp_path, lambda _: httpx.Response(200))
    (tmp_path / "token").unlink()
    with pytest.raises(ClusterError, match="No such file"):
        await asked.pods()


def test_what_kubernetes_tells_each_pod(tmp_path):
    (tmp_path / "namespace").write_text("aragora\n")
    around = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    cluster = Cluster.around(around, tmp_path)
    assert (cluster.url, cluster.namespace) == ("https://[fd00::1]:443", "aragora")
    around["KUBERNETES_SERVICE_HOST"] = "10.96.0.1"
    assert Cluster.around(around, tmp_path).url == "https://10.96.0.1:443"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"KUBERNETES_SERVICE_PORT": "tcp://10.96.0.1:443"}, "is not a number from 1"),
        ({"KUBERNETES_SERVICE_HOST": None}, "KUBERNETES_SERVICE_HOST is not set"),
        ({}, "namespace: No such file"),
    ],
)
def test_outside_of_a_pod_it_says_so(tmp_path, changed, told):
    around = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"} | changed
    around = {name: text for name, text in around.items() if text is not None}
    with pytest.raises(SettingsError, match=told):
        Cluster.around(around, tmp_path)


async def test_a_bad_ca_is_no_traceback(tmp_path):
    for text in (None, "", "no certificate"):
        if text is not None:
            (tmp_path / "ca.crt").write_text(text)
        with pytest.raises(ClusterError, match=r"ca\.crt"):
            async with Cluster("https://127.0.0.1:1", "aragora", tmp_path).session():
                pass
    assert issubclass(ssl.SSLError, OSError)


# --- one look --------------------------------------------------------------------------------


class Stub:
    """A witness that says one thing after the other, and a cluster that does all it is asked."""

    def __init__(self, *said):
        self.said = list(said)
        self.done: list[tuple[str, str | None]] = []

    async def settle(self, within):
        pass

    async def primary(self):
        return self.said.pop(0)

    @asynccontextmanager
    async def session(self):
        yield self

    async def pods(self):
        return [pod(0, MASTER), pod(1)]

    async def label(self, patch):
        self.done.append((patch.pod, patch.role))


@pytest.mark.parametrize("after", [named(0), Unknown("nobody knows")])
async def test_who_is_not_primary_any_more_when_its_turn_comes_gets_no_label(after):
    stub: Any = Stub(named(1), after)
    outcome = await LabelKeeper(stub, stub, SYSTEM_CLOCK, news=asyncio.Event()).look()
    assert not outcome.right
    assert stub.done == [("redis-0", REPLICA)]


# --- what it says of itself ------------------------------------------------------------------


def test_the_probes():
    vitals = Vitals(100.0)
    assert answer("/livez", vitals, 100.0 + STUCK).status == 200
    assert answer("/livez", vitals, 101.0 + STUCK).status == 503
    assert answer("/readyz", vitals, 100.0).status == 503
    vitals.note(200.0, known=True, right=True)
    assert answer("/readyz", vitals, 200.0 + WRONG).status == 200
    assert answer("/readyz", vitals, 201.0 + WRONG).status == 503
    now = 200.0
    while now < 200.0 + IGNORANT:
        vitals.note(now, known=False, right=False)
        assert answer("/livez", vitals, now).status == 200
        now += STUCK
    vitals.note(now, known=False, right=False)
    assert "known nothing" in answer("/livez", vitals, now + 1).text
    vitals.note(now + 2, known=True, right=False)
    assert answer("/livez", vitals, now + 2).status == 200
    assert answer("/readyz", vitals, now + 2).status == 503
    assert answer("/", vitals, now).status == 404


def test_a_decision_and_a_patch_in_words():
    assert str(Patch("redis-0", "1", MASTER)) == "role=master on redis-0"
    assert str(Patch("redis-0", "1", None)) == "no role on redis-0"
    assert decide([], named(0), {}) == Decision(None, ())


@pytest.fixture
def failed(capsys, monkeypatch):
    """The one message of the command in an environment."""

    def call(**env):
        for name, text in env.items():
            monkeypatch.setenv(name, text)
        with pytest.raises(SystemExit) as end:
            run(["label-keeper", "--once"])
        out, err = capsys.readouterr()
        assert (end.value.code, out) == (1, "")
        return err

    return call


def test_without_the_extra_it_says_what_to_install(failed, monkeypatch):
    monkeypatch.setattr(command, "_NEEDED", ("no_such_module",))
    assert "/path/to/this/checkout[kubernetes]" in failed()


def test_without_sentinels_there_is_nobody_to_ask(failed):
    assert "the mode is embedded" in failed()
    assert "the mode is standalone" in failed(ARAGORA_REDIS_URL="redis://127.0.0.1/0")
