"""Hands a primary over while it lives, as `aragora-redis failover` does."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ...address import Address
from ...audit.act import Act
from ...clock import Clock
from ...errors import SettingsError
from ...link.aside import aside
from ...ops.failover import Phase, SwitchoverReport, switch_over
from ...ops.report import Status
from ...ops.targets import ClusterTarget, Target, target_of
from ...settings import Feature, Settings
from ...state.shared import SharedState
from ...telemetry.words import Told
from . import acts
from .acts import Question, Wish
from .worktop import Worktop

_TOLD = {
    Phase.PREFLIGHT: "asking all servers whether it would hurt",
    Phase.PREFER: "waiting until the Sentinels would promote the replica",
    Phase.PAUSE: "holding writes",
    Phase.DRAIN: "waiting until the replicas have everything",
    Phase.PROMOTE: "a replica is promoted",
    Phase.DEMOTE: "making the old primary a replica",
    Phase.RESUME: "letting writes go",
    Phase.VERIFY: "waiting until everybody follows",
}
_LEVELS = {Status.OK: logging.INFO, Status.WARNING: logging.WARNING}


class Handover:
    """Asks all servers first, then does it; see `Hands` for the arguments."""

    def __init__(
        self,
        state: SharedState,
        worktop: Worktop,
        clock: Clock,
        *,
        operator: str,
        name: Callable[[str], str],
    ) -> None:
        self._name = name
        self._state = state
        self._worktop = worktop
        self._clock = clock
        self._operator = operator

    async def question(self, wish: Wish) -> Question:
        """What is said before; raises `SettingsError` where there is nobody to hand over to."""
        target = await self._target(wish)
        report = await self._switch_over(wish, target, dry_run=True)
        done = report.progress
        old = self._name(str(done.old)) if done.old else "the primary"
        new = self._name(str(done.new)) if done.new else None
        question = acts.of_switchover(
            old, new, shard=isinstance(target, ClusterTarget), features=self._features(wish)
        )
        if report.status is Status.OK:
            return question
        reasons = "; ".join([report.headline.partition(": ")[2], *done.notes])
        return acts.refused(question, reasons)

    async def do(self, wish: Wish, reason: str) -> Told:
        """Do it, and say what became of it; raises as `question` does."""
        outcome = "failed"
        try:
            report = await self._switch_over(wish, await self._target(wish), dry_run=False)
            outcome = report.headline
        finally:
            self._state.audit.note(
                Act(
                    actor=self._operator,
                    action="failover",
                    target=" ".join([", ".join(self._features(wish)), wish.target]).strip(),
                    reason=reason,
                    outcome=outcome,
                    via="dashboard",
                )
            )
        notes = "".join(f" ({note})" for note in report.progress.notes)
        level = _LEVELS.get(report.status, logging.ERROR)
        return Told(level, f"by hand: {report.headline.partition(': ')[2]}{notes}")

    async def _switch_over(self, wish: Wish, target: Target, *, dry_run: bool) -> SwitchoverReport:
        named = Address.parse(wish.target, default_port=6379) if wish.target else None
        clustered = isinstance(target, ClusterTarget)
        return await switch_over(
            target,
            prefix=self._state.settings.prefix,
            clock=self._clock,
            to=None if clustered else named,
            shard=named if clustered else None,
            dry_run=dry_run,
            on_phase=lambda phase: None if dry_run else self._worktop.say(_TOLD[phase]),
        )

    def _settings(self, wish: Wish) -> Settings:
        return self._state.settings.of(Feature(wish.of) if wish.of else None)

    def _features(self, wish: Wish) -> tuple[str, ...]:
        """Those whose Redis is meant; none where it is that of all."""
        each = self._state.settings.each_redis()
        return each.get(self._settings(wish), ()) if len(each) > 1 else ()

    async def _target(self, wish: Wish) -> Target:
        settings = self._settings(wish)
        target = await aside("login", lambda: target_of(settings))
        if target is None:
            raise SettingsError("there is no Redis, and so nobody to hand over to")
        return target
