"""The label keeper on real Sentinels, with an API server that does what it is told to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from tests.integration.fleet import until
from tests.integration.kubernetes import FakeKubernetes, answering, garbage, hang, status
from tests.ports import free_port

from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.events import Events
from aragora_redis.ops.label_keeper import Cluster, LabelKeeper, Witness
from aragora_redis.ops.label_keeper import cluster as calls
from aragora_redis.ops.label_keeper import keeper as timing
from aragora_redis.settings import from_env

DATA = ("redis-0", "redis-1", "redis-2")


@pytest_asyncio.fixture
async def kubernetes(tmp_path, sentinel_lab):
    """An API server that knows the lab's servers as pods, and other pods."""
    if sentinel_lab.node("redis-0").address.host == sentinel_lab.node("redis-1").address.host:
        pytest.skip("here the nodes of a lab share one address, so pods cannot be told apart")
    fake = FakeKubernetes(tmp_path)
    for name in DATA:
        fake.make(name, sentinel_lab.node(name).address.host)
    fake.make("other", "10.9.9.9", app="other", role="master")
    await fake.start()
    yield fake
    await fake.stop()
    assert all(list(roles.values()).count("master") <= 1 for roles in fake.history), fake.history


@pytest.fixture
def quick(monkeypatch):
    """Looks and gives up sooner, so that a test need not wait as long."""
    monkeypatch.setattr(timing, "LOOK_EVERY", 0.3)
    monkeypatch.setattr(timing, "RETRY_CAP", 0.3)
    monkeypatch.setattr(timing, "SETTLE", 0.3)
    monkeypatch.setattr(calls, "DEADLINE", 0.5)


@asynccontextmanager
async def keeping(lab, kubernetes, **options):
    """A keeper at work."""
    settings, news = from_env(lab.env()), asyncio.Event()
    witness = Witness(settings, clock=SYSTEM_CLOCK, events=Events(), on_news=news.set)
    cluster = Cluster.around(kubernetes.env, kubernetes.account)
    keeper = LabelKeeper(witness, cluster, SYSTEM_CLOCK, news=news, **options)
    witness.start()
    task = asyncio.create_task(keeper.run())
    try:
        yield keeper
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await witness.close()


def right(kubernetes, primary="redis-0"):
    wanted = {name: "master" if name == primary else "replica" for name in DATA}
    return lambda: kubernetes.roles == wanted


def moved(kubernetes):
    """The label is on another pod than redis-0, and the rest is right."""

    def has_moved():
        masters = kubernetes.masters()
        return masters not in ([], ["redis-0"]) and right(kubernetes, masters[0])()

    return has_moved


def said(caplog):
    return [record.getMessage() for record in caplog.records if "label_keeper" in record.name]


@pytest.mark.usefixtures("quick")
async def test_labels_are_put_once_and_again_where_they_are_lost(sentinel_lab, kubernetes):
    async with keeping(sentinel_lab, kubernetes) as keeper:
        await until(right(kubernetes))
        assert kubernetes.patches == 3
        looks = len(kubernetes.asked)
        await until(lambda: len(kubernetes.asked) > looks + 5)
        assert kubernetes.patches == 3
        for name in DATA:
            kubernetes.make(name, sentinel_lab.node(name).address.host)
        await until(right(kubernetes))
        assert kubernetes.patches == 6
        assert kubernetes.pods["other"]["metadata"]["labels"]["role"] == "master"
        await until(lambda: keeper.vitals.right == keeper.vitals.turned)


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_the_label_follows_a_failover(sentinel_lab, kubernetes, caplog, monkeypatch, fault):
    """By what the Sentinels announce alone, for no look is due.

    A Sentinel that was frozen too goes on naming the old primary, which goes on being one.
    """
    caplog.set_level("INFO")
    monkeypatch.setattr(timing, "LOOK_EVERY", 3600)
    async with keeping(sentinel_lab, kubernetes) as keeper:
        await until(lambda: keeper.vitals.right)
        for name in ("redis-0", "sentinel-2"):
            getattr(sentinel_lab, fault)(name)
        await until(moved(kubernetes))
        if fault == "freeze":
            for name in ("redis-0", "sentinel-2"):
                sentinel_lab.thaw(name)
        for _ in range(5):
            await keeper.look()
    assert [sentinel_lab.primary()] == kubernetes.masters()
    kept = [line for line in caplog.records if "label_keeper" in line.name]
    assert not [line for line in kept if line.levelname == "WARNING"]
    after = [roles for roles in kubernetes.history if roles["redis-0"] == "replica"]
    assert "master" not in after[0].values()  # it was taken off before it was put on
    assert after == kubernetes.history[-len(after) :]


@pytest.mark.usefixtures("quick")
async def test_nothing_is_changed_while_nobody_knows(sentinel_lab, kubernetes):
    async with keeping(sentinel_lab, kubernetes) as keeper:
        await until(right(kubernetes))
        for name in ("sentinel-0", "sentinel-1", "redis-0"):
            sentinel_lab.kill(name)
        before = keeper.vitals.turned
        await until(lambda: keeper.vitals.turned > before + 1)
        assert right(kubernetes)()
        kubernetes.make("redis-1", sentinel_lab.node("redis-1").address.host)
        before = keeper.vitals.turned
        await until(lambda: keeper.vitals.turned > before + 1)
        assert kubernetes.roles["redis-1"] is None
        sentinel_lab.start_node("sentinel-0")
        await until(moved(kubernetes), 60)


async def test_one_sentinel_alone_is_not_believed(sentinel_lab, kubernetes):
    for name in ("sentinel-1", "sentinel-2"):
        sentinel_lab.freeze(name)
    async with keeping(sentinel_lab, kubernetes) as keeper:
        outcome = await keeper.look()
        assert (outcome.right, kubernetes.asked) == (False, [])
        assert outcome.text == "no majority of the Sentinels names one primary"
        for name in ("sentinel-1", "sentinel-2"):
            sentinel_lab.thaw(name)
        await until(right(kubernetes))


@pytest.mark.usefixtures("quick")
async def test_a_named_server_that_is_no_primary_gets_no_label(sentinel_lab, kubernetes, connect):
    async with keeping(sentinel_lab, kubernetes) as keeper:
        await until(right(kubernetes))
        for name in ("sentinel-0", "sentinel-1", "sentinel-2"):
            connect(sentinel_lab, name).execute_command(
                "SENTINEL SET", "aragora-master", "failover-timeout", 600_000
            )
        at = sentinel_lab.node("redis-1").address
        connect(sentinel_lab, "redis-0").execute_command("REPLICAOF", at.host, at.port)
        kubernetes.make("redis-2", sentinel_lab.node("redis-2").address.host)
        outcome = await keeper.look()
        assert "does not prove it: its role is slave" in outcome.text
        assert kubernetes.roles == {"redis-0": "master", "redis-1": "replica", "redis-2": None}


@pytest.mark.usefixtures("quick")
async def test_a_primary_that_is_no_pod_leaves_nobody_labelled(sentinel_lab, kubernetes):
    async with keeping(sentinel_lab, kubernetes) as keeper:
        await until(right(kubernetes))
        kubernetes.make("redis-0", "10.9.9.8")
        kubernetes.make("redis-1", "10.9.9.7", app="redis", role="master")
        await until(lambda: kubernetes.masters() == [])
        outcome = await keeper.look()
        assert "is not exactly one of the pods" in outcome.text
        assert (outcome.known, outcome.right) == (True, False)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (answering(401, "Unauthorized"), "401 Unauthorized"),
        (answering(403, "Forbidden"), "bind the Role of label-keeper.yaml"),
        (answering(404, "NotFound"), "404 Not Found"),
        (answering(409, "Conflict"), "409 Conflict"),
        (answering(410, "Expired"), "410 Gone"),
        (answering(500), "500 Internal Server Error"),
        (answering(503), "503 Service Unavailable"),
        (garbage, "no list of pods"),
        (hang, "does not answer within 0.5 s"),
    ],
    ids=["401", "403", "404", "409", "410", "500", "503", "garbage", "hang"],
)
@pytest.mark.usefixtures("quick")
async def test_what_kubernetes_does_is_told_once_and_ends_nothing(
    sentinel_lab, kubernetes, caplog, fault, told
):
    caplog.set_level("INFO")
    async with keeping(sentinel_lab, kubernetes) as keeper:
        await until(right(kubernetes))
        kubernetes.make("redis-1", sentinel_lab.node("redis-1").address.host)
        kubernetes.fault = fault
        asked = len(kubernetes.asked)
        await until(lambda: len(kubernetes.asked) > asked + 4)
        assert kubernetes.roles["redis-1"] is None
        kubernetes.fault = None
        await until(right(kubernetes))
        await until(lambda: keeper.vitals.right == keeper.vitals.turned)
    (line,) = [each for each in said(caplog) if told in each]
    assert line.startswith("list pods: ")
    assert "token-1" not in caplog.text


@pytest.mark.usefixtures("quick")
async def test_too_many_requests_are_not_made_before_their_time(sentinel_lab, kubernetes):
    async with keeping(sentinel_lab, kubernetes):
        await until(right(kubernetes))
        kubernetes.fault = answering(429, "TooManyRequests", **{"Retry-After": "1"})
        asked = len(kubernetes.asked)
        await until(lambda: len(kubernetes.asked) > asked)
        began = SYSTEM_CLOCK.monotonic()
        await until(lambda: len(kubernetes.asked) > asked + 1)
        assert SYSTEM_CLOCK.monotonic() - began >= 0.9
        kubernetes.fault = None


@pytest.mark.usefixtures("quick")
async def test_a_failover_while_kubernetes_is_away(sentinel_lab, kubernetes, caplog):
    caplog.set_level("INFO")
    async with keeping(sentinel_lab, kubernetes) as keeper:
        await until(right(kubernetes))
        await kubernetes.stop()
        sentinel_lab.kill("redis-0")
        await until(lambda: sentinel_lab.primary() != "redis-0")
        await until(lambda: any("no connection" in line for line in said(caplog)))
        before = keeper.vitals.turned
        await until(lambda: keeper.vitals.turned > before + 1)
        assert kubernetes.masters() == ["redis-0"]
        await kubernetes.start()
        await until(moved(kubernetes))
    assert sum("no connection" in line for line in said(caplog)) == 1


@pytest.mark.usefixtures("quick")
async def test_a_rotated_token_is_used_at_once(sentinel_lab, kubernetes, caplog):
    async with keeping(sentinel_lab, kubernetes):
        await until(right(kubernetes))
        kubernetes.rotate("token-2")
        await until(lambda: kubernetes.old_token == "token-2")
        kubernetes.make("redis-1", sentinel_lab.node("redis-1").address.host)
        await until(right(kubernetes))
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.usefixtures("quick")
async def test_a_write_that_comes_late_makes_no_second_master(sentinel_lab, kubernetes):
    """It was sent, never answered, and would be done after the label has moved elsewhere."""
    late = []

    async def keep_for_later(request):
        if request.method == "PATCH" and b"master" in (body := await request.body()):
            late.append((request.path_params["name"], json.loads(body)))
            await asyncio.sleep(3600)

    for name in DATA:
        kubernetes.apply(name, {"metadata": {"labels": {"role": "replica"}}})
    kubernetes.fault = keep_for_later
    async with keeping(sentinel_lab, kubernetes):
        await until(lambda: late)
        sentinel_lab.kill("redis-0")
        await until(lambda: sentinel_lab.primary() != "redis-0")
        await until(lambda: late[-1][0] != "redis-0")
        kubernetes.fault = None
        await until(moved(kubernetes))
        for name, patch in late:
            if name == "redis-0":
                assert kubernetes.apply(name, patch).status_code == 409
        await until(moved(kubernetes))


@pytest.mark.usefixtures("quick")
async def test_while_the_old_label_cannot_be_taken_off_the_new_one_is_not_put_on(
    sentinel_lab, kubernetes
):
    async def refuse_the_old(request):
        of_old = request.method == "PATCH" and request.path_params["name"] == "redis-0"
        return status(500, "InternalError") if of_old else None

    async with keeping(sentinel_lab, kubernetes):
        await until(right(kubernetes))
        kubernetes.fault = refuse_the_old
        sentinel_lab.kill("redis-0")
        await until(lambda: sentinel_lab.primary() != "redis-0")
        tried = kubernetes.patches
        await until(lambda: kubernetes.patches > tried + 3)
        assert kubernetes.masters() == ["redis-0"]
        kubernetes.fault = None
        await until(moved(kubernetes))


@pytest.mark.usefixtures("quick")
async def test_two_keepers_undo_nothing(sentinel_lab, kubernetes):
    async with keeping(sentinel_lab, kubernetes), keeping(sentinel_lab, kubernetes):
        await until(right(kubernetes))
        asked = len(kubernetes.asked)
        await until(lambda: len(kubernetes.asked) > asked + 8)
        assert right(kubernetes)()
        assert kubernetes.patches <= 6


# --- the command -----------------------------------------------------------------------------


INSTALLED = (sys.executable, "-m", "aragora_redis")


async def start(lab, kubernetes, *arguments, command=INSTALLED, **own):
    env = {name: text for name, text in os.environ.items() if not name.startswith("ARAGORA_")}
    return await asyncio.create_subprocess_exec(
        *command,
        "label-keeper",
        *arguments,
        "--service-account",
        str(kubernetes.account),
        env=env | lab.env() | kubernetes.env | own,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process):
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_once(sentinel_lab, kubernetes, quick_path):
    async def once(*arguments):
        command = {"command": ("aragora-redis",), "PATH": quick_path}
        return await ended(await start(sentinel_lab, kubernetes, "--once", *arguments, **command))

    dry = await once("--dry-run", "--json")
    assert dry[0] == 1
    assert json.loads(dry[1]) == {
        "right": False,
        "text": "would put role=master on redis-0, role=replica on redis-1, "
        "role=replica on redis-2",
    }
    assert kubernetes.patches == 0
    code, out, _ = await once()
    assert (code, out) == (0, "redis-0 is role=master, all others are not\n")
    assert right(kubernetes)()
    kubernetes.fault = answering(403, "Forbidden")
    code, out, err = await once()
    assert (code, "403 Forbidden" in out) == (1, True)
    assert "Traceback" not in err


@pytest.mark.parametrize("fault", [None, hang], ids=["well", "hangs"])
@pytest.mark.alone
async def test_sigterm_ends_it_at_once(sentinel_lab, kubernetes, fault):
    port = free_port()
    kubernetes.fault = fault
    process = await start(sentinel_lab, kubernetes, "--probe-port", str(port))
    try:
        await until(lambda: kubernetes.asked or process.returncode is not None)
        assert process.returncode is None, await ended(process)
        assert await probe(port, "/livez") == 200
        if fault is None:
            await until(right(kubernetes))
            await became(port, "/readyz", 200)
        else:
            assert await probe(port, "/readyz") == 503
        began = SYSTEM_CLOCK.monotonic()
        process.send_signal(signal.SIGTERM)
        code, out, err = await ended(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert SYSTEM_CLOCK.monotonic() - began < 2
    assert (code, out) == (0, "ended\n")
    assert "Traceback" not in err
    assert "HTTP Request" not in err
    secrets = (sentinel_lab.credentials.redis_password, sentinel_lab.credentials.sentinel_password)
    assert not [secret for secret in (*secrets, "token-1") if secret in err]


async def became(port, path, wanted):
    async with asyncio.timeout(20):
        while (found := await probe(port, path)) != wanted:
            assert found == 503
            await asyncio.sleep(0.05)


async def probe(port, path):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])
