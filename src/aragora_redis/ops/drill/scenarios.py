"""The faults that can be drilled: on a lab, and on a deployment that is only reached by wire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from ...address import Address
from ...clock import Clock
from ...errors import LabError, OutcomeUnknownError, Ran
from ...lab import Lab
from ..access import Access, connected
from ..commands import reason
from ..failover import switch_over
from ..targets import ClusterTarget, SentinelTarget, Target
from .freeze import Freeze
from .measures import Objectives

COMMAND_LIMIT = 2.0
"""Seconds for one command: more than a `freeze.PIECE`, after which who was held answers again."""
ELSEWHERE = 1.0
"""Seconds without a write that are put down to the machine, on a shard that nothing is done to."""


class Scenario(StrEnum):
    """What is done to a deployment."""

    KILL_PRIMARY = "kill-primary"
    FREEZE_PRIMARY = "freeze-primary"
    CUT_PRIMARY = "cut-primary"
    SWITCHOVER = "switchover"
    LOSE_SENTINEL = "lose-sentinel"
    RESTART_ALL = "restart-all"

    @property
    def replaces(self) -> bool:
        """Whether another primary is to be expected."""
        return self not in {Scenario.LOSE_SENTINEL, Scenario.RESTART_ALL}

    @property
    def everywhere(self) -> bool:
        """Whether it is done to all, and not to one primary."""
        return self is Scenario.RESTART_ALL

    def objectives(self, down_after: float, name_delay: float = 0.0) -> Objectives:
        """What may be asked of it, where nobody asks for something else.

        Args:
            down_after: seconds after which the Sentinels, the nodes, or the provider of a managed
                service call a server down.
            name_delay: seconds for which the name of such a service then leads to the old primary.
        """
        gaps = {
            Scenario.SWITCHOVER: name_delay + 3.0,
            Scenario.LOSE_SENTINEL: 0.5,
            Scenario.RESTART_ALL: down_after + 15.0,
        }
        return Objectives(
            gap=gaps.get(self, down_after + name_delay + 5.0),
            elsewhere=None if self.everywhere else ELSEWHERE,
        )


class Actor(Protocol):
    """Makes a fault, and mends it."""

    async def begin(self) -> None:
        """Make it.

        Raises:
            LabError: it was not made.
            OutcomeUnknownError: it may have been made, or may yet be.
        """

    async def end(self) -> None:
        """Undo it, as far as that is ours. Raises `LabError` where that is not seen to be done."""


class LabActor:
    """On a lab every fault is real."""

    def __init__(
        self, lab: Lab, scenario: Scenario, primary: str, switch: Callable[[], Awaitable[None]]
    ) -> None:
        self._lab = lab
        self._scenario = scenario
        self._primary = primary
        self._switch = switch

    async def begin(self) -> None:
        lab = self._lab
        match self._scenario:
            case Scenario.KILL_PRIMARY:
                await _wholly(lab.kill, self._primary)
            case Scenario.FREEZE_PRIMARY:
                await _wholly(lab.freeze, self._primary)
            case Scenario.CUT_PRIMARY:
                await _wholly(lab.cut, self._primary)
            case Scenario.LOSE_SENTINEL:
                await _wholly(lab.kill, "sentinel-0")
            case Scenario.RESTART_ALL:
                await _wholly(lab.kill, "all")
            case Scenario.SWITCHOVER:
                await self._switch()

    async def end(self) -> None:
        lab = self._lab
        match self._scenario:
            case Scenario.FREEZE_PRIMARY:
                await _wholly(lab.thaw, "all")
            case Scenario.CUT_PRIMARY:
                await _wholly(lab.heal)
            case Scenario.SWITCHOVER:
                pass
            case _:
                await _wholly(lab.start_all)


async def _wholly(call: Callable[..., object], *arguments: str) -> None:
    """Call what blocks, to its end, though we are ended meanwhile: or it is done once mended."""
    work = asyncio.ensure_future(asyncio.to_thread(call, *arguments))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise


class RemoteActor:
    """By wire: a SHUTDOWN, after which a supervisor starts the server again, and a `Freeze`.

    To Sentinels a server that has all commands paused is one that stands still. To the nodes of a
    cluster it is not: they talk on another port, which no command stops.
    """

    def __init__(
        self,
        target: Target,
        scenario: Scenario,
        primary: Address,
        switch: Callable[[], Awaitable[None]],
    ) -> None:
        self._target = target
        self._scenario = scenario
        self._primary = primary
        self._switch = switch
        self._freeze: Freeze | None = None

    async def begin(self) -> None:
        target = self._target
        match self._scenario, target:
            case Scenario.KILL_PRIMARY, SentinelTarget() | ClusterTarget():
                await self._demand_primary()
                await _shut_down(self._primary, target.redis)
            case Scenario.FREEZE_PRIMARY, SentinelTarget():
                await self._demand_primary()
                self._freeze = Freeze(self._primary, target.redis)
                with _failures_told(self._primary, "CLIENT PAUSE", acts=True):
                    async with asyncio.timeout(COMMAND_LIMIT):
                        await self._freeze.begin()
            case Scenario.SWITCHOVER, SentinelTarget() | ClusterTarget():
                await self._switch()
            case Scenario.LOSE_SENTINEL, SentinelTarget():
                await _shut_down(target.sentinels[0], target.sentinel)
            case _:
                raise LabError(
                    f"{self._scenario} cannot be made over the wire", remedy="drill it on a lab"
                )

    async def end(self) -> None:
        if self._freeze is not None:
            await self._freeze.end()
            await _command(self._primary, self._target.redis, "PING")

    async def _demand_primary(self) -> None:
        said = await _command(self._primary, self._target.redis, "ROLE")
        if said[0] != "master":
            raise LabError(f"{self._primary} is no primary any more", remedy="drill it anew")


def switcher(
    target: Target, prefix: str, clock: Clock, *, shard: Address | None, force: bool
) -> Callable[[], Awaitable[None]]:
    """A switchover as a step of a drill; in a cluster, of the shard that a node names."""

    async def switch() -> None:
        report = await switch_over(target, prefix=prefix, clock=clock, shard=shard, force=force)
        if report.replaced is Ran.NO:
            raise LabError(report.headline)
        if report.replaced is Ran.UNKNOWN:
            raise OutcomeUnknownError(report.headline, remedy="")

    return switch


async def _shut_down(at: Address, access: Access) -> None:
    async with connected(at, access) as client:
        # One that cannot be reached, or does not let us in, was not shut down.
        with _failures_told(at, "PING", acts=False):
            await _limited(client, "PING")
        # It answers by closing the connection.
        with _failures_told(at, "SHUTDOWN", acts=True), suppress(RedisConnectionError):
            await _limited(client, "SHUTDOWN", "NOSAVE")


async def _command(at: Address, access: Access, *words: str) -> Any:
    with _failures_told(at, words[0], acts=False):
        return await _ask(at, access, *words)


async def _ask(at: Address, access: Access, *words: str) -> Any:
    async with connected(at, access) as client:
        return await _limited(client, *words)


async def _limited(client: Redis, *words: str) -> Any:
    async with asyncio.timeout(COMMAND_LIMIT):
        ask: Any = client.execute_command
        return await ask(*words)


@contextmanager
def _failures_told(at: Address, command: str, *, acts: bool) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        said = f"{at} has not answered {command} within {COMMAND_LIMIT:g} s"
        remedy = "see aragora-redis doctor"
        if acts:
            raise OutcomeUnknownError(f"{said}, and may yet do it", remedy=remedy) from None
        raise LabError(said, remedy=remedy) from None
    except (RedisError, OSError) as error:
        raise LabError(f"{at} does not take {command}: {reason(error)}") from error
