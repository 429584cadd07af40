"""What `migrate` says where somebody ends it, or means two things; no server is needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.ops.access import Access
from aragora_redis.ops.migrate.migration import Migration
from aragora_redis.ops.migrate.replication import Server
from aragora_redis.ops.targets import target_of
from aragora_redis.settings import from_env

URL = "redis://127.0.0.1:1"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("ARAGORA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ARAGORA_REDIS_URL", URL)
    monkeypatch.chdir(tmp_path)


async def test_a_journal_that_has_no_place_is_told_and_nothing_is_begun():
    target: Any = target_of(from_env({"ARAGORA_REDIS_URL": URL}))
    path = Path("missing", "journal")
    migration = Migration(
        Server(target.address, Access()), target, prefix="p", path=path, clock=SYSTEM_CLOCK
    )
    for begin in (migration.run, migration.rollback, migration.commit):
        with pytest.raises(FileNotFoundError):
            await begin()
