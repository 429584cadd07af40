"""Look, label, and look again.

Two keepers at once, as in a rollout, undo nothing: a write holds for one version of a pod, so the
second gets 409 and looks again, and both want the same. Only while one has heard of a failover and
the other has not may each put its own label on; so the Deployment never runs two (`Recreate`).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from ...address import Address
from ...clock import Clock, full_jitter
from ...errors import Ran
from .cluster import Cluster, ClusterError, Session
from .labels import MASTER, Decision, Patch, decide
from .probes import Vitals
from .witness import Unknown, Witness

LOOK_EVERY = 5.0
"""Seconds between looks while all is well: a pod that was replaced has lost its label."""
RETRY_BASE, RETRY_CAP = 0.1, 5.0
SETTLE = 3.0
"""Seconds that the Sentinels are given to agree, which takes them a moment in a failover."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one look."""

    text: str
    right: bool = False
    """The labels are what they should be."""
    known: bool = False
    """It is certain who is primary, and Kubernetes has told of its pods."""
    retry_after: float = 0.0
    """Seconds that Kubernetes wants to be left alone."""


class LabelKeeper:
    """Keeps the label `role` of the pods of one namespace.

    Args:
        witness: knows who is primary.
        cluster: the API server.
        clock: for the age of what is known.
        news: set when it is worth to look at once.
        dry_run: tell what would be written, and write nothing.
    """

    def __init__(
        self,
        witness: Witness,
        cluster: Cluster,
        clock: Clock,
        *,
        news: asyncio.Event,
        dry_run: bool = False,
    ) -> None:
        self._witness = witness
        self._cluster = cluster
        self._clock = clock
        self._news = news
        self._dry_run = dry_run
        self._unanswered: dict[str, str] = {}
        self._told = ""
        self.vitals = Vitals(clock.monotonic())

    async def run(self) -> None:
        """Keep them until cancelled."""
        attempt = 0
        while True:
            outcome = await self.look()
            self._tell(outcome)
            self.vitals.note(self._clock.monotonic(), known=outcome.known, right=outcome.right)
            attempt = 0 if outcome.right else attempt + 1
            await asyncio.sleep(outcome.retry_after)
            backoff = full_jitter(attempt, base=RETRY_BASE, cap=RETRY_CAP)
            if await self._pause(LOOK_EVERY if outcome.right else backoff):
                attempt = 0

    async def look(self) -> Outcome:
        """Have the labels right, if it is certain what is right."""
        await self._witness.settle(SETTLE)
        self._news.clear()
        primary = await self._witness.primary()
        if isinstance(primary, Unknown):
            return Outcome(primary.reason)
        try:
            async with self._cluster.session() as session:
                return await self._reconcile(session, primary)
        except ClusterError as error:
            return Outcome(str(error), retry_after=error.retry_after)

    async def _reconcile(self, session: Session, primary: Address) -> Outcome:
        pods = await session.pods()
        versions = {pod.name: pod.version for pod in pods}
        self._unanswered = {
            name: version
            for name, version in self._unanswered.items()
            if versions.get(name) == version
        }
        decision = decide(pods, primary, self._unanswered)
        if self._dry_run and decision.patches:
            return Outcome(f"would put {', '.join(map(str, decision.patches))}", known=True)
        for patch in decision.patches:
            # What took time since may have been a failover.
            if patch.role == MASTER and await self._witness.primary() != primary:
                return Outcome(f"{primary} was primary a moment ago, and may not be any more")
            await self._write(session, patch)
        return _judged(decision, primary)

    async def _write(self, session: Session, patch: Patch) -> None:
        try:
            await session.label(patch)
        except ClusterError as error:
            if patch.role == MASTER and error.ran is not Ran.NO:
                self._unanswered[patch.pod] = patch.version
            raise
        _log.info("put %s", patch)

    def _tell(self, outcome: Outcome) -> None:
        if outcome.text != self._told:
            _log.log(logging.INFO if outcome.right else logging.WARNING, "%s", outcome.text)
        self._told = outcome.text

    async def _pause(self, seconds: float) -> bool:
        """Wait; whether news have ended it."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True


def _judged(decision: Decision, primary: Address) -> Outcome:
    if decision.primary is None:
        return Outcome(f"{primary} is primary, and is not exactly one of the pods", known=True)
    text = f"{decision.primary} is role={MASTER}, all others are not"
    return Outcome(text, right=True, known=True)
