"""Does what an operator has confirmed, through the state of this instance, which records it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from ...clock import Clock
from ...sessions.stored import SessionInfo
from ...state.audit.audit import done_via
from ...state.circuits.circuits import Forced
from ...state.revocations.receipt import Receipt
from ...state.shared import SharedState
from ...telemetry.words import Told
from . import acts
from .acts import Question, Wish
from .worktop import Worktop

if TYPE_CHECKING:
    from .handover import Handover

_DAY = 86_400


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
                return await self._handover().question(wish)
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
        with done_via("dashboard"):
            return await self._do(wish, reason)

    async def _do(self, wish: Wish, reason: str) -> Told | None:
        state, by = self._state, self._operator
        match wish.verb:
            case "circuit":
                ttl = float(wish.lasts) if wish.lasts else None
                forced = await state.circuits.force(
                    wish.target, _forced(wish.state), reason=reason, actor=by, ttl=ttl
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
                await self._worktop.do("hand over", lambda: self._handover().do(wish, reason))
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

    def _handover(self) -> Handover:
        # It brings all that judges a deployment, which a gateway does not need to start.
        from .handover import Handover  # noqa: PLC0415

        return Handover(
            self._state, self._worktop, self._clock, operator=self._operator, name=self._name
        )


def _forced(state: str) -> Forced:
    found: dict[str, Forced] = {"open": "open", "closed": "closed", "auto": "auto"}
    return found[state]


def _told_of(receipt: Receipt) -> Told:
    if receipt.level >= receipt.wanted:
        return Told(logging.INFO, f"Revoked: {receipt.level.word}.")
    text = f"Revoked here ({receipt.level.word}); it goes on to all others as soon as may be."
    return Told(logging.WARNING, text)
