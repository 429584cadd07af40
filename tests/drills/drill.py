"""One drill: a lab, a fleet of clients under load, faults on a schedule, and a verdict."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from tests.integration.fleet import apart as own_variables
from tests.integration.past import give_past

from aragora_redis.lab import Lab

from . import checker
from .excuses import PROPAGATION
from .fleet import Fleet
from .history import History, Recorder, What, load
from .nemesis import FAULTS, GROUNDS, NEED_OUTBOX, NEED_SETTABLE
from .nemesis.stage import Stage
from .settable import settable
from .subjects import COUNTED, COUNTED_BURST, HOT, SLOW
from .verdict import AT_ONCE, STALENESS, Expectations, Violation

CALM = PROPAGATION + 1.5
"""Seconds without a fault between two of them: what is then not known everywhere is missed."""
FRESH_PLACE = 100
"""The place of a client that begins at the end."""
POLICIES = f"""
[limits.{HOT}]
rate = "20/second"
burst = 20
on_outage = "OUTAGE"
[limits.{SLOW}]
rate = "10/minute"
burst = 10
on_outage = "OUTAGE"
[limits.{COUNTED}]
rate = "1 per 1 hour"
burst = {COUNTED_BURST}
on_outage = "OUTAGE"
[circuits.default]
open_for = "0.3 seconds"
half_open_probes = 3
minimum_calls = 5
reporters = 1
"""
OUTAGES = ("fail-open", "fail-closed")
"""What an outage means: it is bridged with shares, copies and what is known, or it is refused."""
APART: Mapping[str, tuple[tuple[str, ...], tuple[What, ...]]] = {
    "limits": (("RATE_LIMIT", "CIRCUITS"), ("check", "probe")),
    "tokens": (
        ("TOKENS", "SESSIONS"),
        ("revoke", "verify", "create", "read", "update", "end"),
    ),
}
"""What may have a Redis of its own, which no fault touches: features, and calls that go there."""
REFUSING = {
    "ARAGORA_TOKENS_ON_OUTAGE": "deny",
    "ARAGORA_TOKENS_MAX_STALENESS": str(STALENESS),
    "ARAGORA_SESSIONS_ON_OUTAGE": "deny",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a drill is to do.

    Attributes:
        faults: names of `nemesis.FAULTS` of that mode, in order.
        seed: of all that is random.
        mode: of the lab: `sentinel`, `managed` or `cluster`.
        outage: `fail-open` or `fail-closed`.
        apart: which of `APART` have a Redis of their own; empty for neither.
        clients: how many processes share the load.
        martyrs: let one client die with each fault, and another take its place.
        spared: places whose clients do not die so; what they hold is noted after each fault.
        at_once: seconds within which checks are decided without Redis, on this machine.
    """

    faults: Sequence[str]
    seed: int
    mode: str = "sentinel"
    outage: str = OUTAGES[0]
    apart: str = ""
    clients: int = 4
    martyrs: bool = True
    spared: frozenset[int] = frozenset()
    subject: str = "ours"
    breaks: tuple[str, ...] = ()
    at_once: float = AT_ONCE


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it."""

    plan: Plan
    history: History = field(repr=False)
    violations: list[Violation]


async def run(plan: Plan, directory: Path) -> Result:
    """Run a drill in an empty directory; everything that it has started ends with it."""
    async with opened(
        directory,
        plan.mode,
        outage=plan.outage,
        apart=plan.apart,
        seed=plan.seed,
        subject=plan.subject,
        breaks=plan.breaks,
        outbox=not NEED_OUTBOX.isdisjoint(plan.faults),
        settable_clocks=not NEED_SETTABLE.isdisjoint(plan.faults),
    ) as stage:
        await _play(plan, stage)
    history = await asyncio.to_thread(loaded, directory)
    expected = Expectations(
        instances=plan.clients, at_once=plan.at_once, fail_open=plan.outage == OUTAGES[0]
    )
    return Result(plan, history, checker.check(history, expected))


def loaded(directory: Path) -> History:
    """What all processes have written into the directory of a drill."""
    return load(directory.glob("*.jsonl"))


def _prepare(directory: Path, outage: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    policies = directory / "policies.toml"
    policies.write_text(POLICIES.replace("OUTAGE", outage), "utf-8")
    return policies


@asynccontextmanager
async def opened(
    directory: Path,
    mode: str = "sentinel",
    *,
    outage: str = OUTAGES[0],
    apart: str = "",
    seed: int = 1,
    subject: str = "ours",
    breaks: tuple[str, ...] = (),
    env: Mapping[str, str] = MappingProxyType({}),
    outbox: bool = False,
    settable_clocks: bool = False,
) -> AsyncIterator[Stage]:
    """A lab that runs, and a fleet with nobody in it yet; with an `outbox`, one that all share.

    What is `apart` (see `APART`) is on a server of its own.

    The clocks of the servers can be set where that is asked for.
    """
    policies = await asyncio.to_thread(_prepare, directory, outage)
    lab = Lab.create(directory / "lab", mode, ports="free")
    recorder = Recorder(directory / "drill.jsonl", "drill")
    kept = {"ARAGORA_TOKENS_OUTBOX": str(directory / "outbox")} if outbox else {}
    closed = outage == OUTAGES[1]
    refusing = REFUSING if closed else {}
    env = {"ARAGORA_POLICIES": str(policies), **kept, **refusing, **env}
    features, spares = APART.get(apart, ((), ()))
    calm = Lab.create(directory / "calm", "standalone", ports="free") if apart else None
    if calm is not None:
        env |= own_variables(calm, *features)
    fleet = Fleet(lab, directory, recorder, env, seed=seed, subject=subject, breaks=breaks)
    async with AsyncExitStack() as cleanup:
        cleanup.callback(recorder.close)
        if settable_clocks:
            cleanup.enter_context(settable(directory))
        await asyncio.to_thread(lab.start, foreground=True)
        cleanup.push_async_callback(asyncio.to_thread, lab.stop)
        await asyncio.to_thread(give_past, lab)
        if calm is not None:
            await asyncio.to_thread(calm.start, foreground=True)
            cleanup.push_async_callback(asyncio.to_thread, calm.stop)
            await asyncio.to_thread(give_past, calm)
        cleanup.push_async_callback(fleet.close)
        ground = GROUNDS[mode](lab)
        ears = asyncio.create_task(ground.listen(recorder))
        cleanup.callback(ears.cancel)
        stale = STALENESS if closed else 0.0
        yield Stage(lab, ground, fleet, recorder, random.Random(seed), spares, stale)


async def _play(plan: Plan, stage: Stage) -> None:
    fleet = stage.fleet
    await asyncio.gather(*(fleet.spawn(number) for number in range(plan.clients)))
    if plan.subject == "ours":
        await next(iter(fleet.living.values())).ask({"do": "trip"})
    await fleet.all({"do": "load"})
    await asyncio.sleep(CALM)
    for name in plan.faults:
        mortal = [each for each in fleet.living.values() if each.number not in plan.spared]
        martyr = stage.random.choice(mortal) if plan.martyrs else None
        async with FAULTS[plan.mode][name](stage):
            if martyr is not None:
                await fleet.kill(martyr)
        if martyr is not None:
            heir = await fleet.spawn(martyr.number)
            await heir.ask({"do": "load"})
        await asyncio.sleep(CALM)
        for client in fleet.living.values():
            if client.number in plan.spared:
                await client.ask({"do": "note resources"})
    await fleet.all({"do": "rest"})
    await sweep(stage)


async def sweep(stage: Stage) -> None:
    """Have everybody, and one who has just come, look at all that was revoked or begun."""
    fleet = stage.fleet
    await fleet.spawn(FRESH_PLACE)
    await asyncio.sleep(PROPAGATION)
    revoked = sorted({call.on for call in load(fleet.histories).of("revoke")})
    await fleet.all({"do": "sweep", "revoked": revoked, "sessions": fleet.sessions})
    for client in [*fleet.living.values()]:
        await fleet.stop(client)
