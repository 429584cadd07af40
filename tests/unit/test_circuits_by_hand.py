"""How a circuit is shown to an operator, by the server's time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from aragora_redis.circuit.machine import Phase, Standing
from aragora_redis.cli import circuits as command
from aragora_redis.ops.desk import circuits
from aragora_redis.ops.desk.desk import Desk

OPEN = Standing(phase=Phase.OPEN, until=1_000_000_000, span=30_000_000)


async def looked_at(server_now):
    """What an operator finds at an instant where Redis holds an open circuit."""

    async def ask(operation):
        return OPEN if operation.script is None else []  # what is stored takes no script

    desk = SimpleNamespace(
        settings=SimpleNamespace(prefix="aragora"), server_now=lambda: server_now, ask=ask
    )
    return await circuits.look(cast("Desk", cast("Any", desk)), "upstream")


@pytest.mark.parametrize(
    ("server_now", "state", "until"),
    [
        pytest.param(999.0, "open", "1970-01-01", id="open"),
        pytest.param(1000.0, "half-open", "", id="open-time-over"),
    ],
)
async def test_an_open_circuit_is_half_open_once_its_time_is_over(capsys, server_now, state, until):
    found = await looked_at(server_now)
    assert found.as_dict()["state"] == state
    row = command._row(found)
    assert row[1] == state
    assert row[6].startswith(until)
    assert bool(row[6]) is bool(until)
    command._tell(found, as_json=False)
    assert ("until" in capsys.readouterr().out) is bool(until)
