"""Run a case: all contestants are ready, and take turns."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from .case import Case, Entry
from .results import CaseResult
from .sample import Sample
from .servers import BenchServer
from .workers import UnavailableError, Worker, worker


@dataclass(slots=True)
class Rounds:
    """How long a run is and on which event loop, and what it comes to know of its contestants."""

    server: BenchServer
    seconds: float
    rounds: int
    loop: str
    versions: dict[str, str] = field(default_factory=dict)

    async def play(self, case: Case) -> CaseResult:
        """One case."""
        tell(f"{case.name}: {case.title}")
        answers: dict[str, list[Sample]] = {}
        missing: dict[str, str] = {}
        self.server.empty()
        for together in [(entry,) for entry in case.entries] if case.axis else [case.entries]:
            await self._alternate(together, answers, missing)
        for name, why in missing.items():
            tell(f"  {name} is not available: {why}")
        return CaseResult(case, answers, missing)

    async def _alternate(
        self, entries: Iterable[Entry], answers: dict[str, list[Sample]], missing: dict[str, str]
    ) -> None:
        """Have them take turns; nobody else is there meanwhile."""
        async with AsyncExitStack() as stack:
            ready = await self._ready(stack, entries, missing)
            for _ in range(self.rounds):
                for name, contestant in list(ready.items()):
                    try:
                        answers.setdefault(name, []).append(await self._round(contestant))
                    except UnavailableError as error:
                        missing[name] = str(error)
                        del answers[name], ready[name]

    async def _ready(
        self, stack: AsyncExitStack, entries: Iterable[Entry], missing: dict[str, str]
    ) -> dict[str, Worker]:
        ready: dict[str, Worker] = {}
        for entry in entries:
            try:
                ready[entry.name] = await stack.enter_async_context(
                    worker(entry, self.server.target, self.loop)
                )
            except UnavailableError as error:
                missing[entry.name] = str(error)
                continue
            self.versions |= ready[entry.name].versions
        return ready

    async def _round(self, contestant: Worker) -> Sample:
        cpu, wire = self.server.cpu(), self.server.wire()
        sample = await contestant.run(self.seconds)
        sample.server_cpu = self.server.cpu() - cpu
        sample.wire = self.server.wire() - wire
        return sample


def tell(text: str) -> None:
    """Say how far the run is."""
    print(f"bench: {text}", file=sys.stderr, flush=True)
