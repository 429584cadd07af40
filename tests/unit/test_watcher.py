"""What the watch on the Sentinels asks them, and when writing stops and goes on."""

from __future__ import annotations

from typing import Any, cast

from tests.unit.test_panel import GROUP, S1, A, B, panel_at

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.events import Events
from aragora_redis.link.account import account_of
from aragora_redis.link.connection import Login
from aragora_redis.link.pipe import Pipe
from aragora_redis.link.watcher import SentinelWatcher
from aragora_redis.settings import Credentials
from aragora_redis.testing import FakeClock

MASTER = "aragora-master"
LOGIN = Login(account_of(Credentials(None, None), clock=SYSTEM_CLOCK, events=Events()))
AT = {name: Address(name, 26379) for name in GROUP}


class Watch:
    """A watch on three Sentinels that all name A under epoch 5, and what it has told."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.told: list[object] = []
        self.panel = panel_at(A, 5, at=self.now)
        self.watcher = SentinelWatcher(
            MASTER,
            list(AT.values()),
            LOGIN,
            LOGIN,
            self.panel,
            clock=self.clock,
            events=Events(),
            on_view=lambda view: self.told.append(view.primary),
            on_doubt=lambda _doubt: self.told.append("stop"),
            on_confirmed=lambda: self.told.append("go on"),
            on_lost=self.told.append,
        )

    @property
    def now(self) -> float:
        return self.clock.monotonic()


class Promoting:
    """A Sentinel that promotes B under epoch 6 as soon as it has answered one question."""

    def __init__(self) -> None:
        self.primary, self.epoch = A, 5

    async def request(self, *command: str, timeout: float) -> Any:  # noqa: ASYNC109
        del timeout
        primary, epoch = self.primary, self.epoch
        self.primary, self.epoch = B, 6
        match command[1]:
            case "GET-MASTER-ADDR-BY-NAME":
                return [primary.host.encode(), b"%d" % primary.port]
            case "MASTER":
                return {b"config-epoch": b"%d" % epoch, b"flags": b"master"}
            case "SENTINELS":
                return [
                    {b"runid": name.encode(), b"ip": name.encode(), b"port": b"26379"}
                    for name in GROUP
                    if name != S1
                ]
            case _:
                return []


async def test_a_promotion_between_two_questions_makes_nothing_stale():
    watch, sentinel = Watch(), cast("Pipe", Promoting())
    watch.watcher._ids |= {address: name for name, address in AT.items()}
    await watch.watcher._ask(AT[S1], sentinel, S1.encode())
    assert (A, 6) not in {(said.primary, said.epoch) for said in watch.panel.statements}
    await watch.watcher._ask(AT[S1], sentinel, S1.encode())
    assert watch.told == [B]
    await watch.watcher.close()
