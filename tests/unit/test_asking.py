"""How many servers are asked, whatever they answer."""

from __future__ import annotations

from aragora_redis.address import Address
from aragora_redis.ops import asking
from aragora_redis.ops.asking import _spread


async def test_who_names_strangers_without_end_does_not_have_all_of_them_asked(monkeypatch):
    monkeypatch.setattr(asking, "SERVERS", 10)
    strangers = [Address("10.0.0.1", port) for port in range(1, 5000)]
    asked = []

    async def ask(at):
        asked.append(at)
        return at

    first = Address("10.0.0.2", 6379)
    found = await _spread([first], ask, lambda at: strangers if at == first else [])
    assert len(asked) == len(found) == 10
    asked.clear()
    await _spread(strangers, ask, lambda _: [])
    assert len(asked) == 10
