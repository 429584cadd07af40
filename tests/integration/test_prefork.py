"""Processes that come and go: each is an instance while it is asked, and leaves when it ends."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.integration.past import give_past

from aragora_redis.state.presence import presence_keys
from aragora_redis.sync import SharedState

POLICIES = '[limits.mail]\nrate = "1 per hour"\nburst = 100\nlease = 10\n'

WAYS = """
import multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor
from aragora_redis.sync import SharedState

state = SharedState.from_env()
state.start()

def ask(way):
    assert state.rate_limits.check("mail", "u").allowed
    print(way, state._crossing.here.boot_id, flush=True)
    return os.getpid()

if __name__ == "__main__":
    if os.fork() == 0:
        ask("os.fork")
        sys.exit(0)
    assert os.wait()[1] == 0
    for way in ("fork", "spawn"):
        child = multiprocessing.get_context(way).Process(target=ask, args=(way,))
        child.start()
        child.join()
        assert child.exitcode == 0
    for way in ("fork", "forkserver"):
        with ProcessPoolExecutor(1, multiprocessing.get_context(way)) as pool:
            one, other = (pool.submit(ask, way + " of a pool").result() for _ in range(2))
            assert one == other != os.getpid()
    ask("script")
"""


def test_what_is_not_closed_leaves_with_its_process(standalone_lab, policies, connect, tmp_path):
    env = standalone_lab.env() | policies(POLICIES)
    env |= {"ARAGORA_KEY_PREFIX": "ways", "ARAGORA_REDIS_DEADLINE": "2"}
    give_past(standalone_lab, **env)
    program = tmp_path / "program.py"
    program.write_text(WAYS)
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", str(program)],
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert not ended.stderr
    asked = {boot: way for way, boot in (line.rsplit(" ", 1) for line in ended.stdout.splitlines())}
    assert len(asked) == 6, "each is an instance of its own"
    left = connect(standalone_lab).zrange(presence_keys("ways").beats, 0, -1)
    assert not left, [asked.get(boot, "a parent") for boot in left]
    with SharedState.from_env(env) as state:
        told = state.rate_limits.peek("mail", "u").decision
        assert told.remaining == 100 - 8, "what was leased has come back"


OUTAGE = """
import multiprocessing, sys, time
from aragora_redis.sync import SharedState

state = SharedState.from_env()
state.start()

def serve(counted, out, passed):
    assert state.rate_limits.policy("api").burst == 20
    until = time.monotonic() + 30
    while state.status().instances != 2 or not state.ready:
        assert time.monotonic() < until, state.status()
        time.sleep(0.02)
    counted.release()
    assert out.wait(30)
    passed.put(sum(state.rate_limits.check("api", "u").allowed for _ in range(40)))

if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")
    counted, out, passed = fork.Semaphore(0), fork.Event(), fork.SimpleQueue()
    children = [fork.Process(target=serve, args=(counted, out, passed)) for _ in range(2)]
    for child in children:
        child.start()
    assert all(counted.acquire(timeout=40) for _ in children)
    print("counted", flush=True)
    sys.stdin.readline()
    out.set()
    print(sum(passed.get() for _ in children), flush=True)
    for child in children:
        child.join()
"""


def test_forks_share_a_limit_in_an_outage_without_the_process_that_started_it(
    make_lab, policies, tmp_path
):
    """I2: a parent that serves nobody would keep a third of each limit to itself."""
    lab = make_lab("standalone")
    lab.start()
    give_past(lab)
    burst = '[limits.api]\nrate = "1 per hour"\nburst = 20\non_outage = "fail-open"\n'
    program = tmp_path / "program.py"
    program.write_text(OUTAGE)
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", str(program)],
        env=os.environ | lab.env() | policies(burst) | {"ARAGORA_REDIS_DEADLINE": "2"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as serving:
        assert serving.stdin is not None
        assert serving.stdout is not None
        try:
            assert serving.stdout.readline() == "counted\n"
            lab.kill("primary")
            serving.stdin.write("\n")
            serving.stdin.flush()
            assert serving.stdout.readline() == "20\n"
        finally:
            serving.kill()
