"""Wait until a server, and those that replicate it, have all that another one has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from redis.exceptions import RedisError

from ...address import Address
from ...clock import Clock
from ..commands import reason
from .replication import MoveError, Role, Server, follow, role_of
from .steps import Copied, OnCopied

LOOK_EVERY = 0.2
STALL = 60.0
"""Seconds without a byte after which a copy is not waited for any more."""


async def wait_for_copy(
    follower: Server,
    leader: Server,
    fellows: Sequence[Server],
    clock: Clock,
    on_copied: OnCopied,
) -> None:
    """Wait until a server, and those that replicate it, have all that another one has.

    Raises:
        MoveError: it does not get on, or takes writes itself.
    """
    progress = _Progress(clock)
    why = "no byte came"
    while True:
        try:
            goal = (await role_of(leader)).offset
            role = await role_of(follower)
            if role.primary:
                raise MoveError(
                    f"{follower.address} no longer follows {leader.address}: it was restarted or "
                    "promoted, and may have taken writes since"
                )
            if role.follows != leader.address:
                await follow(follower, leader)
            behind = [] if role.linked and role.offset >= goal else [(follower.address, role)]
            for fellow in fellows:
                said = await role_of(fellow)
                if not (said.linked and said.offset >= goal):
                    behind.append((fellow.address, said))
            if not behind:
                return
            on_copied(_copied(role, len(fellows) - len(behind), len(fellows)))
            progress.note(behind)
        except (RedisError, OSError, TimeoutError) as error:
            why = reason(error)
        if (stuck := progress.stuck()) is not None:
            raise MoveError(
                f"{stuck or follower.address} has not got on with what {leader.address} has for "
                f"{STALL:.0f} s: {why}; its log says more. It was left as it is"
            )
        await asyncio.sleep(LOOK_EVERY)


class _Progress:
    """Notices who does not get on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard = clock.monotonic()
        self._moved: dict[Address, tuple[object, float]] = {}

    def note(self, behind: Sequence[tuple[Address, Role]]) -> None:
        """These have not everything yet."""
        now = self._heard = self._clock.monotonic()
        before = self._moved
        self._moved = {}
        for address, role in behind:
            said, since = before.get(address, (None, now))
            self._moved[address] = (role, now if said != role else since)

    def stuck(self) -> Address | str | None:
        """Who has said the same for too long; empty where nobody says anything."""
        now = self._clock.monotonic()
        if now - self._heard > STALL:
            return ""
        return next((at for at, (_, since) in self._moved.items() if now - since > STALL), None)


def _copied(role: Role, have: int, fellows: int) -> Copied:
    if not role.linked:
        return Copied("bytes of a first copy", max(role.size - role.left, 0), role.size)
    return Copied("replicas of the target that have it", have, fellows)
