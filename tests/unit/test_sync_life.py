"""A state of threads from its start to its end: what fails in between. What fails in between leaves nothing."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from aragora_redis.errors import NotStartedError, SettingsError
from aragora_redis.settings import Settings, from_env
from aragora_redis.sync import SharedState
from aragora_redis.sync.loop import current

POLICIES = '[limits.api]\nrate = "2 per minute"\n'


def loop_users():
    loop = current().loop
    return loop.users if loop is not None else 0


def test_a_call_from_before_the_close_does_not_revive_it():
    state, before, said = SharedState(Settings()), loop_users(), list[object]()

    def ask():
        try:
            said.append(state.rate_limits.check("api", "u"))
        except NotStartedError as error:
            said.append(error)

    lock: Any = Waited(current().lock)
    state._crossing._started = True  # by a thread that has not come to make it yet
    current().lock = lock
    try:
        with lock.inner:
            asking = threading.Thread(target=ask)
            asking.start()
            assert lock.wanted.wait(5)
            state._crossing._started = False  # `close`, which finds nothing to end
        asking.join()
    finally:
        current().lock = lock.inner
    assert isinstance(said[0], NotStartedError)
    assert loop_users() == before


class Waited:
    """A lock that tells when it is wanted."""

    def __init__(self, inner):
        self.inner, self.wanted = inner, threading.Event()

    def __enter__(self):
        self.wanted.set()
        return self.inner.__enter__()

    def __exit__(self, *error):
        return self.inner.__exit__(*error)


def test_a_start_that_fails_leaves_it_as_it_was(tmp_path):
    file, before = tmp_path / "policies.toml", loop_users()
    file.write_text(POLICIES)
    state = SharedState(from_env({"ARAGORA_POLICIES": str(file)}))
    file.write_text("nonsense")
    with pytest.raises(SettingsError):
        state.start()
    assert loop_users() == before
    file.write_text(POLICIES)
    with pytest.raises(NotStartedError):
        state.rate_limits.check("api", "u")
    with state:
        assert state.rate_limits.check("api", "u").allowed
    assert loop_users() == before


def test_who_is_interrupted_in_the_start_leaves_nothing_behind(monkeypatch):
    before, state = loop_users(), SharedState(Settings())
    with SharedState(Settings()):  # another one, so that the loop goes on
        loop: Any = current().loop
        run, left = loop.run, list[Any]()

        def interrupted(work, within, **how):
            if work.__name__ != "_start":
                return run(work, within, **how)
            run(work, within, **how)
            left.append(state._made)
            raise KeyboardInterrupt

        monkeypatch.setattr(loop, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            state.start()
        assert loop_users() == before + 1
        assert not left[0].life.lives
        assert not left[0]._background


def test_a_close_that_raises_gives_the_loop_back(monkeypatch):
    before, state = loop_users(), SharedState(Settings())
    state.start()

    async def fail():
        raise OSError("the disk")

    monkeypatch.setattr(state._crossing.here, "close", fail)
    with pytest.raises(OSError, match="the disk"):
        state.close()
    assert loop_users() == before
