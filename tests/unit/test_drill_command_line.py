"""What a drill has found is told, whatever becomes of its picture."""

from __future__ import annotations

import errno
import json
import os
from types import SimpleNamespace

import pytest

from aragora_redis.cli import drill
from aragora_redis.cli.app import run


@pytest.mark.parametrize(("code", "then"), [(0, 1), (2, 2)], ids=["held", "nothing was drilled"])
def test_a_disk_that_is_full_takes_no_verdict_away(code, then, capsys, monkeypatch):
    monkeypatch.setenv("ARAGORA_REDIS_SENTINEL_HOSTS", "127.0.0.1:1")
    monkeypatch.setenv("ARAGORA_REDIS_SENTINEL_MASTER", "m")

    def drilled(work):
        work.close()
        return SimpleNamespace(exit_code=code, as_dict=lambda: {"status": "as it was"})

    for name, made in {
        "_stage": lambda *_: True,
        "_actor": lambda *_, **__: None,
        "_demand_confirmation": lambda *_: None,
        "_run": drilled,
        "page": lambda _report: "a picture",
    }.items():
        monkeypatch.setattr(drill, name, made)
    with pytest.raises(SystemExit) as end:
        run(("drill", "kill-primary", "--html", "/dev/full", "--json", "--deadline", "0.1"))
    out, err = capsys.readouterr()
    assert (end.value.code, json.loads(out)) == (then, {"status": "as it was"})
    assert err == f"/dev/full is not written: {os.strerror(errno.ENOSPC)}\n"
