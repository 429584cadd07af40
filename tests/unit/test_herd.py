"""A fleet that loses its server at once comes back as fast as the server can bear it.

The server is simulated: it gives all who are connected an equal share of its processor, as Redis
does that reads each in turn. A handshake is a few answers, each of which has to come in time.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable

import pytest

from aragora_redis.link import herd
from aragora_redis.link.herd import AT_ONCE, EACH, Turn, patience, pause, spread
from aragora_redis.testing import FakeClock

STEPS = 6
"""Answers to wait for until a connection is verified."""


class Server:
    """Runs handshakes until all are done, or `until`; who is back when is in `back`."""

    def __init__(self, instances: int, slower: float, first: Callable[[], float]) -> None:
        self._work = EACH * slower / STEPS
        self._instances = instances
        self._numbers = itertools.count()
        self._comes: list[tuple[float, int, int]] = []  # when, who, which attempt
        self._done: list[tuple[float, int, int, int, int]] = []  # at which virtual time, ...
        self._gives_up: deque[tuple[float, int]] = deque()  # when, which step
        self._waiting: set[int] = set()  # steps under way
        self._now = self._virtual = 0.0
        self.back: list[float] = []
        for each in range(instances):
            heapq.heappush(self._comes, (first(), each, 0))

    def run(self, until: float) -> None:
        who: dict[int, tuple[int, int]] = {}
        while self._now < until and len(self.back) < self._instances:
            while self._done and self._done[0][1] not in self._waiting:
                heapq.heappop(self._done)
            while self._gives_up and self._gives_up[0][1] not in self._waiting:
                self._gives_up.popleft()
            shares = len(self._waiting)
            done = self._now + (self._done[0][0] - self._virtual) * shares if shares else until
            late = self._gives_up[0][0] if self._gives_up else until
            comes = self._comes[0][0] if self._comes else until
            at = min(done, late, comes, until)
            self._virtual += (at - self._now) / shares if shares else 0.0
            self._now = at
            if at == until:
                return
            if at == done:
                _, step, each, attempt, number = heapq.heappop(self._done)
                self._waiting.discard(step)
                if number == STEPS:
                    self.back.append(at)
                else:
                    who[self._ask(each, attempt, number + 1)] = (each, attempt)
            elif at == late:
                _, step = self._gives_up.popleft()
                self._waiting.discard(step)
                each, attempt = who[step]
                again = at + pause(attempt, self._instances)
                heapq.heappush(self._comes, (again, each, attempt + 1))
            else:
                _, each, attempt = heapq.heappop(self._comes)
                who[self._ask(each, attempt, 1)] = (each, attempt)

    def _ask(self, each: int, attempt: int, number: int) -> int:
        step = next(self._numbers)
        self._waiting.add(step)
        heapq.heappush(self._done, (self._virtual + self._work, step, each, attempt, number))
        self._gives_up.append((self._now + patience(self._instances), step))
        return step


def back_after(instances: int, *, slower: float = 1.0, spread_over: float | None = None) -> float:
    over = spread(instances) if spread_over is None else spread_over
    server = Server(instances, slower, lambda: random.uniform(0, over))
    server.run(until=4 * slower * max(instances * EACH, 1.0))
    return server.back[-1] if len(server.back) == instances else float("inf")


@pytest.fixture(autouse=True)
def seed():
    random.seed(7)


@pytest.mark.parametrize("instances", [100, 500, 1_000, 3_000, 10_000])
def test_a_fleet_is_back_when_the_server_could_have_served_it(instances):
    assert back_after(instances) < 1.3 * instances * EACH + 0.5


@pytest.mark.parametrize("slower", [1.5, 2.0])
def test_it_comes_back_to_a_server_that_is_slower_than_thought(slower):
    assert back_after(10_000, slower=slower) < 1.3 * slower * 10_000 * EACH


def test_all_at_once_is_what_is_to_be_avoided(monkeypatch):
    """As it was: attempts of a second, spread over a second."""
    monkeypatch.setattr(herd, "spread", lambda _: 0.0)
    assert back_after(2_000, spread_over=0.0) > 3 * 2_000 * EACH


@pytest.mark.parametrize("instances", [0, 1, 3, AT_ONCE])
def test_small_fleets_come_back_at_once(instances):
    turn = Turn(lambda: instances, FakeClock())
    turn.draw()
    assert turn.left <= 0
    assert not turn.crowded
    assert turn.patience == herd.PATIENCE


def test_a_fleet_that_was_counted_after_the_start_is_as_patient_before_its_first_loss():
    known = [0]
    turn = Turn(lambda: known[0], FakeClock())
    turn.draw()
    assert turn.stagger() == 0.0
    known[0] = 10_000
    assert turn.patience == patience(10_000)
    assert max(turn.pause(40) for _ in range(200)) > herd.RETRY_CAP
    assert 0 < max(turn.stagger() for _ in range(200)) <= spread(10_000)


def test_a_turn_is_within_the_spread_and_comes():
    clock = FakeClock()
    turn = Turn(lambda: 10_000, clock)
    assert turn.left <= 0  # whoever starts has lost nothing
    turn.draw()
    assert 0 < turn.left <= spread(10_000)
    clock.advance(spread(10_000))
    assert turn.left <= 0
