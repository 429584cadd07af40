"""What a drill has found is told, whatever becomes of its picture."""

from __future__ import annotations

import errno
import json
import os
from types import SimpleNamespace

import pytest

from aragora_redis.cli import drill
from aragora_redis.cli.app import run
from aragora_redis.ops.drill import DrillReport, Scenario
from aragora_redis.ops.drill.measures import OURS, Measures, Objectives, Verdict


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


def test_the_figures_come_with_what_they_mean(capsys):
    ours = Measures(acknowledged=9, failed=24, unknown=4, lost=0, gap=1.9, slowest=1.0)
    verdict = Verdict(detection=None, promotion=None, writers={OURS: ours}, missed=())
    drill._write(DrillReport(Scenario.KILL_PRIMARY, Objectives(gap=5.0), verdict))
    out = capsys.readouterr().out
    assert "Unknown: may have been written, nobody can say." in out
    assert f"{OURS} gives each write up to 1 s to be acknowledged" in out
