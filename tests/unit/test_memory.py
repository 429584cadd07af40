"""The in-process data set when it holds as much as it may."""

from __future__ import annotations

import pytest

from aragora_redis import memory
from aragora_redis.errors import OverloadedError
from aragora_redis.memory import Memory

SECOND = 1_000_000


class Looked(dict[bytes, int]):
    """Counts how often all of it was looked at."""

    times = 0

    def items(self):
        self.times += 1
        return super().items()


@pytest.fixture
def full(monkeypatch):
    monkeypatch.setattr(memory, "KEY_LIMIT", 50)
    now = [0]
    made = Memory(lambda: now[0])
    made._sweep_at = 50
    made._expiries = Looked()
    for number in range(50):
        made.put(b"%d" % number, number)
        made.expire_at(b"%d" % number, 10 * SECOND)
    return made, now


def test_who_asks_in_vain_does_not_have_all_looked_at_each_time(full):
    data, _ = full
    for number in range(200):
        with pytest.raises(OverloadedError):
            data.put(b"new-%d" % number, 1)
    assert data._expiries.times == 1


def test_there_is_room_again_when_something_is_over_or_was_removed(full):
    data, now = full
    with pytest.raises(OverloadedError):
        data.put(b"new", 1)
    data.delete(b"7")
    data.put(b"new", 1)
    with pytest.raises(OverloadedError):
        data.put(b"newer", 1)
    now[0] = 11 * SECOND
    data.put(b"newer", 1)
    assert data.get(b"3") is None
