"""Does what an operator has confirmed, through the state of this instance, which records it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import assert_never

from ...address import Address
from ...audit.act import Act
from ...clock import Clock
from ...errors import SettingsError
from ...link.aside import aside
from ...ops.failover import Phase, SwitchoverReport, switch_over
from ...ops.report import Status
from ...ops.targets import ClusterTarget, Target, target_of
from ...sessions.stored import SessionInfo
from ...state.circuits import Forced
from ...state.receipt import Receipt
from ...state.shared import SharedState
from ...telemetry.words import Told
from . import acts
from .acts import Question, Wish
from .worktop import Worktop

_DAY = 86_400
_TOLD = {
    Phase.PREFLIGHT: "asking all servers whether it would hurt",
    Phase.PREFER: "preferring the chosen replica",
    Phase.PAUSE: "holding writes",
    Phase.DRAIN: "waiting until the replicas have everything",
    Phase.PROMOTE: "a replica is promoted",
    Phase.DEMOTE: "making the old primary a replica",
    Phase.RESUME: "letting writes go",
    Phase.VERIFY: "waiting until everybody follows",
}
_LEVELS = {Status.OK: logging.INFO, Status.WARNING: logging.WARNING}


class Hands:
    """Asks before, and does after.

    Args:
        worktop: where what takes a while is done.
        operator: who acts, by what they proved that they may.
        name: what a server is called, by its address.
    """

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
        """What is said before a wish is granted.

        Raises:
            AragoraRedisError: it cannot be told.
        """
        status = self._state.status()
        match wish.verb:
            case "circuit":
                return acts.of_circuit(wish, status)
            case "revoke":
                tokens = self._state.settings.tokens
                return acts.of_revocation(
                    wish,
                    status,
                    longest=tokens.max_lifetime,
                    pardons=tokens.pardon_key is not None,
                )
            case "sessions" | "end-session" | "end-sessions":
                return acts.of_sessions(wish, status)
            case "switchover":
                return await self._asked(wish)
            case _:
                assert_never(wish.verb)

    async def sessions_of(self, wish: Wish) -> list[SessionInfo]:
        """The sessions of a user that live; raises as `Sessions.of_user` does."""
        return await self._state.sessions.of_user(wish.who)

    async def do(self, wish: Wish, reason: str) -> Told | None:
        """Do it, and say what became of it; None where that is told on the page as it goes on.

        Raises:
            AragoraRedisError: it could not be done.
        """
        state, by = self._state, self._operator
        match wish.verb:
            case "circuit":
                lasts = float(wish.lasts) if wish.lasts else None
                forced = await state.circuits.force(
                    wish.target, _forced(wish.state), reason, by=by, lasts=lasts
                )
                return Told(logging.INFO, f"Circuit {wish.target} is {forced.state}.")
            case "revoke":
                return _told_of(await self._revoke(wish, reason))
            case "end-session":
                ended = await state.sessions.end_one_of(
                    wish.who, wish.target, reason=reason, actor=by
                )
                return Told(logging.INFO, f"The session: {ended}.")
            case "end-sessions" | "sessions":
                ended = await state.sessions.end_user(wish.who, reason=reason, actor=by)
                return Told(logging.INFO, f"Their sessions: {ended}.")
            case "switchover":
                await self._worktop.do("hand over", lambda: self._hand_over(wish, reason))
                return None
            case _:
                assert_never(wish.verb)

    async def _revoke(self, wish: Wish, reason: str) -> Receipt:
        tokens, by = self._state.tokens, self._operator
        if wish.kind == "user":
            return await tokens.revoke_user(wish.who, reason=reason, actor=by)
        if wish.kind == "family":
            return await tokens.revoke_family(wish.who, reason=reason, actor=by)
        expires_at = self._clock.wall() + int(wish.days) * _DAY
        return await tokens.revoke(wish.who, expires_at=expires_at, reason=reason, actor=by)

    async def _asked(self, wish: Wish) -> Question:
        """Ask all servers first, as a switchover does."""
        target = await self._target()
        report = await self._switch_over(wish, target, dry_run=True)
        done = report.progress
        old = self._name(str(done.old)) if done.old else "the primary"
        new = self._name(str(done.new)) if done.new else None
        question = acts.of_switchover(old, new, shard=isinstance(target, ClusterTarget))
        if report.status is Status.OK:
            return question
        reasons = "; ".join([report.headline.partition(": ")[2], *done.notes])
        return acts.refused(question, reasons)

    async def _hand_over(self, wish: Wish, reason: str) -> Told:
        outcome = "failed"
        try:
            report = await self._switch_over(wish, await self._target(), dry_run=False)
            outcome = report.headline
        finally:
            self._state.audit.note(
                Act(
                    actor=self._operator,
                    action="failover",
                    target=wish.target,
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

    async def _target(self) -> Target:
        target = await aside("login", lambda: target_of(self._state.settings))
        if target is None:
            raise SettingsError("there is no Redis, and so nobody to hand over to")
        return target


def _forced(state: str) -> Forced:
    found: dict[str, Forced] = {"open": "open", "closed": "closed", "auto": "auto"}
    return found[state]


def _told_of(receipt: Receipt) -> Told:
    if receipt.level >= receipt.wanted:
        return Told(logging.INFO, f"Revoked: {receipt.level.word}.")
    text = f"Revoked here ({receipt.level.word}); it goes on to all others as soon as may be."
    return Told(logging.WARNING, text)
