"""Data that another version laid out are neither read nor written, and the reason is said."""

from __future__ import annotations

from tests.integration.fleet import until

from aragora_redis import SharedState
from aragora_redis.events import Unreachable


async def test_an_instance_refuses_data_of_another_layout_and_says_what_to_do(
    standalone_lab, connect
):
    client = connect(standalone_lab, "redis-0")
    client.set("layout-1:layout", "1")
    env = standalone_lab.env() | {"ARAGORA_KEY_PREFIX": "layout-1"}
    told = list[str]()
    state = SharedState.from_env(env)
    state.events.subscribe(
        lambda event: told.append(event.reason) if isinstance(event, Unreachable) else None
    )
    state.start()
    try:
        await until(lambda: any("has layout b'1', not b'2'" in reason for reason in told))
        assert "ARAGORA_KEY_PREFIX" in told[0]
        assert "rm -r .lab" in told[0]
        assert state.status().health != "healthy"
    finally:
        await state.close()
    assert [*client.scan_iter("layout-1:*")] == ["layout-1:layout"]
    assert client.get("layout-1:layout") == "1"
