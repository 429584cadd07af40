"""Commands of operators on a server that says anything: a verdict or a reason, no traceback."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import AsyncExitStack
from random import Random

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.between import Between
from tests.fuzz.effort import effort
from tests.fuzz.resp import UNREADABLE, spoiled, wire, written
from tests.integration import conftest
from tests.integration.past import give_past

from aragora_redis.cli import desk

cli = conftest.cli
COMMANDS = """
health --deadline 1
health --deadline 1 --json
status --deadline 1
status --deadline 1 --json
doctor --deadline 1
doctor --deadline 1 --json
doctor --connect
failover --dry-run
audit
audit --json
tokens list
tokens look --user 42
tokens look --jti a --json
tokens export out
tokens revoke --user 42 --reason x
sessions list --user 42
sessions list --user 42 --json
sessions end --user 42 --reason x
circuits list
circuits list --json
circuits look db
circuits force db open --reason x
limits own api
limits look api 42
limits set api 42 3/second --reason x
limits reserve api 42 2 --reason x
bench --seconds 0.1 --callers 1
migrate plan --from URL --journal journal
""".strip().splitlines()


@pytest.fixture(scope="module")
def between(standalone_lab):
    """Somebody between the commands and a real Redis, on a loop of his own."""
    give_past(standalone_lab, ARAGORA_KEY_PREFIX="operated")
    loop, opened = asyncio.new_event_loop(), AsyncExitStack()
    made = Between(standalone_lab.node("primary").address)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result(10)

    run(opened.enter_async_context(made.listening()))
    yield made
    run(opened.aclose())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture
def run(standalone_lab, between, cli, monkeypatch):
    monkeypatch.setattr(desk, "REACH_LIMIT", 0.5)
    env = standalone_lab.env() | {"ARAGORA_KEY_PREFIX": "operated", "ARAGORA_REDIS_DEADLINE": "0.2"}
    url = env["ARAGORA_REDIS_URL"].replace(
        str(standalone_lab.node("primary").address), str(between.address)
    )

    def call(command, tamper):
        between.tamper = tamper
        try:
            words = [url if word == "URL" else word for word in command.split()]
            code, out, err = cli(*words, **env | {"ARAGORA_REDIS_URL": url})
        finally:
            between.tamper = None
        assert "Traceback" not in out + err
        assert code in {0, 1, 2, 3}, err
        assert code == 0 or (out + err).strip()

    return call


@effort(6)
@given(st.sampled_from(COMMANDS), st.integers(0, 2**32), st.sampled_from([0.1, 0.3, 1.0]))
def test_a_part_of_a_reply_is_something_else(run, faults, command, seed, share):
    random = Random(seed)

    def tamper(_command, reply):
        if random.random() > share:
            return reply
        reader = hiredis.Reader()
        reader.feed(reply)
        return written(spoiled(reader.gets(), random))

    run(command, tamper)
    faults.assert_none()


@effort(2)
@given(st.sampled_from(COMMANDS), st.lists(st.none() | wire, min_size=1, max_size=4))
def test_something_else_comes_in_place_of_a_reply(run, faults, command, answers):
    coming = deque(answers)

    def tamper(_command, reply):
        answer = coming.popleft() if coming else None
        return reply if answer is None else answer

    run(command, tamper)
    faults.assert_none()


@pytest.mark.parametrize("command", ["doctor --connect", "health --deadline 1", "tokens list"])
@pytest.mark.parametrize("answer", UNREADABLE[1:2] + UNREADABLE[6:7], ids=["http", "map of a list"])
def test_what_is_no_redis(run, faults, command, answer):
    run(command, lambda _command, _reply: answer)
    faults.assert_none()
