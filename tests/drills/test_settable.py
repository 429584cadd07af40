"""Servers whose clock is set, and what instances make of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.drills import settable
from tests.drills.nemesis import FAULTS, NEED_SETTABLE, offered
from tests.integration.fleet import until
from tests.integration.past import give_past

from aragora_redis import SharedState
from aragora_redis.lab import Lab
from aragora_redis.state.revocations.receipt import Level

DAY = 86_400.0
_WHY_NOT = settable.why_not()
needs_settable = pytest.mark.skipif(
    _WHY_NOT is not None, reason=f"the clock of a server cannot be set: {_WHY_NOT}"
)


@contextmanager
def settable_lab(make_lab, directory) -> Iterator[Lab]:
    lab = make_lab("standalone")
    with settable.settable(directory):
        lab.start()
        give_past(lab)
        yield lab


async def revoke_all(state, names, expires_at):
    await asyncio.gather(*(state.tokens.revoke(name, expires_at=expires_at) for name in names))


@needs_settable
def test_a_clock_is_set_at_once_and_timers_go_on(make_lab, tmp_path):
    with settable_lab(make_lab, tmp_path) as lab:
        node = lab.node("primary")
        with lab._site.access(node).connect(node) as client:
            for by in (3600.0, -3600.0, 4 * DAY, 0.0):
                settable.set_clock(lab, node.name, by)
                said = client.eval("return redis.call('TIME')[1]", 0)
                assert abs(float(said) - by - time.time()) < 2
                client.set("key", "value", px=30)
                began = time.monotonic()
                assert client.blpop(["nothing"], timeout=0.1) is None
                assert time.monotonic() - began < 0.5
                assert not client.exists("key")


def test_what_the_machine_cannot_have_is_left_out(monkeypatch):
    monkeypatch.setattr(settable, "why_not", lambda: "there is none")
    for mode, faults in FAULTS.items():
        assert set(faults) - set(offered(mode)) == NEED_SETTABLE
    monkeypatch.setattr(settable, "why_not", lambda: None)
    for mode, faults in FAULTS.items():
        assert list(faults) == offered(mode)


@needs_settable
async def test_what_a_server_called_over_is_heard_of_once_its_clock_is_right(make_lab, tmp_path):
    with settable_lab(make_lab, tmp_path) as lab:
        async with SharedState.from_env(lab.env()) as one, SharedState.from_env(lab.env()) as other:
            settable.set_clock(lab, "primary", 4 * DAY)
            made = await one.tokens.revoke("meanwhile", expires_at=time.time() + 60)
            assert made.level is Level.LOCAL
            settable.set_clock(lab, "primary", 0.0)
            await until(lambda: other.tokens.is_revoked({"jti": "meanwhile"}), 8)


@needs_settable
async def test_who_starts_misses_nothing_that_a_clock_ahead_has_taken(make_lab, tmp_path):
    """Days that are over by it go from Redis, and come back from instances before it is ready."""
    with settable_lab(make_lab, tmp_path) as lab:
        async with SharedState.from_env(lab.env()) as one:
            before = [f"before-{number}" for number in range(40)]
            await revoke_all(one, before, time.time() + 60)
            settable.set_clock(lab, "primary", 4 * DAY)
            far = [f"far-{number}" for number in range(100)]  # in each shard a day that is new
            await revoke_all(one, far, time.time() + 10 * DAY)
            settable.set_clock(lab, "primary", 0.0)
            async with SharedState.from_env(lab.env()) as fresh:
                assert all(fresh.tokens.is_revoked({"jti": name}) for name in before)
