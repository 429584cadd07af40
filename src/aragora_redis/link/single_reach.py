"""What every way to one primary has, whoever says which server that is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from ..clock import Clock
from ..events import Events
from ..operation import Lane
from ..settings import Settings
from .account import Account
from .connection import Login
from .encryption import encryption_of
from .executor import Executor
from .names import Names
from .primary import PrimaryLinks
from .replies import RedirectError
from .route import Route
from .standing import Vouching
from .supervision import supervised
from .verification import Verification


class SingleReach:
    """One route and an executor, wired. See `Reach` for what is asked of it.

    Args:
        account: who we are to the servers.
        vouching: who can say that the primary was replaced; None where nobody does.
        together: see `PrimaryLinks`, as for `instances`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        account: Account,
        clock: Clock,
        events: Events,
        prepares: bool,
        instances: Callable[[], int],
        vouching: Vouching | None,
        together: bool,
        on_push: Callable[[list[Any]], None],
        on_up: Callable[[Route, Lane], None],
        on_doubt: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._account = account
        self._renewal: asyncio.Task[None] | None = None
        self._names = Names(settings.hosts)
        self._login = Login(
            account, settings.db, encryption_of(settings.tls), self._names, settings.variable
        )
        self._links = PrimaryLinks(
            self._login,
            clock=clock,
            events=events,
            deadline=settings.deadline,
            verification=Verification(
                clock,
                layout_key=f"{settings.prefix}:layout".encode(),
                by_slot=False,
                prepares=prepares,
            ),
            together=together,
            instances=instances,
            on_push=on_push,
            heard_majority_since=self._heard_since,
            on_verified=self._arrived,
            on_up=lambda lane: on_up(self._route, lane),
            on_trouble=self._look_again,
        )
        self._route = Route(
            self._links,
            clock=clock,
            vouching=vouching,
            required=self.required_replicas,
            on_doubt=on_doubt,
            on_redirect=self.redirected,
        )
        self.executor = Executor(self, clock, by_slot=False)

    def _heard_since(self, instant: float) -> bool:
        """Whether those who would know of another primary were heard since an instant."""
        raise NotImplementedError

    def _arrived(self, peer: str) -> None:
        """A server at this network address may be written."""

    def _look_again(self) -> None:
        """The primary could not be reached or verified, or is in doubt."""
        raise NotImplementedError

    @property
    def channels(self) -> Sequence[bytes]:
        """What to subscribe to."""
        return self._links.channels

    @channels.setter
    def channels(self, channels: Sequence[bytes]) -> None:
        self._links.channels = channels

    def start(self) -> None:
        """Connect and follow in the background."""
        self._renewal = asyncio.create_task(supervised("the credentials", self._account.run))
        self._route.start()

    async def close(self) -> None:
        """End all connections and tasks."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        self._account.close()
        self._names.close()
        await self._route.close()

    # --- routing ----------------------------------------------------------------------------

    @property
    def routes(self) -> Sequence[Route]:
        """The one."""
        return (self._route,)

    def lead(self, slot: int | None) -> Route:
        """The one, whatever the slot."""
        del slot
        return self._route

    def at(self, address: object) -> Route:
        """The one; a server that belongs to no cluster sends nobody elsewhere."""
        del address
        return self._route

    def redirected(self, error: RedirectError) -> bool:
        """The settings name one node of a cluster as all of Redis: nobody else is asked."""
        del error
        return False

    # --- how it is --------------------------------------------------------------------------

    @property
    def down(self) -> str | None:
        """Why Redis cannot be written now, or None."""
        return self._links.lanes[Lane.FAST].down

    @property
    def doubted(self) -> bool:
        """Whether the primary may no longer speak for the fleet."""
        return self._route.doubt is not None

    @property
    def lacks(self) -> tuple[str, ...]:
        """What Redis does not offer, and what it costs."""
        return self._links.lacks

    @property
    def across_slots(self) -> bool:
        """Whether it takes calls with keys of several hash slots."""
        return not self._links.lanes[Lane.FAST].by_slot

    @property
    def primary(self) -> str | None:
        """Where it writes."""
        return str(self._links.target) if self._links.target else None

    def required_replicas(self, slot: int | None = None) -> int:
        """How many replicas must acknowledge what shall count as replicated, or 0."""
        raise NotImplementedError

    async def ready(self, until: float) -> None:
        """Wait until everything can be written.

        Raises:
            LinkDownError: it cannot before `until` (monotonic seconds).
        """
        for lane in Lane:
            if not await self._links.usable(lane, until):
                raise self._links.lanes[lane].refusal("the primary cannot be reached")
