"""The example for Celery, under real workers, on a real broker."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from celery import Celery
from tests.integration.past import give_past

from aragora_redis.errors import CircuitOpenError
from aragora_redis.state.presence import presence_keys
from aragora_redis.sync import SharedState

EXAMPLE = Path(__file__).parents[2] / "examples" / "celery"
POLICIES = """
[limits.mail]
rate = "2 per second"
burst = 3
lease = 2
[circuits.celery-quotes]
minimum_calls = 3
reporters = 1
open_for = "60 seconds"
"""


class Workers:
    """Workers of the example with a Redis, and who sends them tasks.

    Args:
        env: where both have their Redis.
        log: takes what the workers say.
    """

    def __init__(self, env, log):
        url = urlsplit(env["ARAGORA_REDIS_URL"])
        broker = f"redis://:{env['ARAGORA_REDIS_PASSWORD']}@{url.hostname}:{url.port}/1"
        self.env, self.log = env | {"CELERY_BROKER_URL": broker}, log
        self.app = Celery(broker=broker, backend=broker)
        self.queue = env["ARAGORA_KEY_PREFIX"]

    @contextlib.contextmanager
    def serving(self, *options):
        """The process of one that serves a queue of its own."""
        command = (
            sys.executable, "-m", "celery", "-A", "app", "worker", "-Q", self.queue, *options
        )  # fmt: skip
        with self.log.open("w") as said:
            process = subprocess.Popen(
                command, cwd=EXAMPLE, env=os.environ | self.env, stdout=said, stderr=said
            )
        try:
            yield process
            process.terminate()
            assert process.wait(30) == 0, self.log.read_text()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            self.app.close()

    def send(self, task, *args, **named):
        return self.app.send_task(f"app.{task}", args, named, queue=self.queue)

    def ask(self, task, *args, **named):
        return self.send(task, *args, **named).get(timeout=30)


@pytest.fixture
def workers(request, standalone_lab, policies, tmp_path):
    env = standalone_lab.env() | policies(POLICIES)
    env |= {
        "ARAGORA_KEY_PREFIX": f"celery-{request.node.callspec.id}",
        "ARAGORA_REDIS_DEADLINE": "5",
    }
    give_past(standalone_lab, **env)
    return Workers(env, tmp_path / "log")


POOLS = {
    "prefork": ("--pool", "prefork", "--concurrency", "2", "--max-tasks-per-child", "8"),
    "threads": ("--pool", "threads", "--concurrency", "4"),
}


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_tasks_share_what_the_service_has(pool, workers, standalone_lab, connect):
    server, beats = connect(standalone_lab), presence_keys(workers.queue).beats
    with SharedState.from_env(workers.env) as service, workers.serving(*POOLS[pool]):
        # A limit, of all children; what is refused comes back when it allows it.
        began = time.monotonic()
        mails = [workers.send("send_mail", "42") for _ in range(8)]
        children = {mail.get(timeout=30) for mail in mails}
        assert time.monotonic() - began > (8 - 3) / 2 - 0.1
        # The children, and this process; not the one that they were forked from.
        assert server.zcard(beats) <= 3
        # A token that is revoked while its task waits.
        assert workers.ask("export", {"jti": "kept"}).startswith("done by ")
        service.tokens.revoke("gone", expires_at=time.time() + 60)
        until_all_refuse(workers, {"jti": "gone"})
        # A circuit, which tells the caller when to come again.
        with pytest.raises(CircuitOpenError) as refused:
            until_refused(workers)
        assert (refused.value.circuit, refused.value.state) == ("celery-quotes", "open")
        assert refused.value.retry_after > 30
        await_state(service.circuits["celery-quotes"], "open")
        children |= {told.get(timeout=30) for told in [workers.send("export", {"jti": "x"})]}
    if pool == "prefork":
        assert len(children) > 2, "children were replaced"
    assert not server.zcard(beats), "all have left"


def until_all_refuse(workers, claims):
    """Each of them hears of a revocation by itself, and on a busy machine not at once."""
    end = time.monotonic() + 10
    while True:
        told = [workers.send("export", claims) for _ in range(8)]
        if {each.get(timeout=30) for each in told} == {"revoked"}:
            return
        assert time.monotonic() < end


def until_refused(workers):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with contextlib.suppress(ConnectionError):
            workers.ask("quote", up=False)


def await_state(circuit, state):
    end = time.monotonic() + 10
    while circuit.state != state:
        assert time.monotonic() < end, circuit.state
        time.sleep(0.02)
