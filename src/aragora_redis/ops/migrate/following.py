"""Have a source tell of changes, and hear it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Mapping, MutableMapping

from redis.asyncio import Redis

from ...address import Address
from .calls import CopyError, named
from .changes import Dirty, Mark, enough, mark_of, untold, with_enough
from .feed import Feed, flags_of, switch, switch_back, tells_all
from .pair import Pair
from .sites import Clients

Notify = MutableMapping[str, list[str]]
"""notify-keyspace-events by server, where we set it: what it was and what we made of it."""


async def give_back(clients: Clients, notify: Notify, *, seconds: float = 10.0) -> None:
    """Set notify-keyspace-events to what it was; what cannot be given back stays in `notify`."""
    for address, client in clients.by_address.items():
        if str(address) in notify:
            former, ours = notify[str(address)]
            with contextlib.suppress(CopyError):
                who = named(clients.site.name, address)
                if await switch_back(who, client, former, ours, seconds):
                    del notify[str(address)]


class Following:
    """Knows which keys of the source changed since the last full pass, or that nobody knows.

    Attributes:
        dirty: which did.
        silent: why nobody tells of changes, so that only full passes help; None where it is told.
    """

    def __init__(
        self, pair: Pair, dirty: Dirty, notify: Notify, remember: Callable[[], None]
    ) -> None:
        self.dirty = dirty
        self.silent: str | None = None
        self._pair = pair
        self._notify = notify
        self._remember = remember
        self._feeds: list[Feed] = []
        self._marks: Mapping[str, Mark] = {}

    async def prepare(self) -> None:
        """Have the source tell of changes where it lets us, and listen.

        Raises:
            CopyError: a server does not answer.
        """
        for who, address, client in self._pair.servers(self._pair.source):
            await self._have_it_tell(who, address, client)
        await self._listen()

    async def begin(self) -> None:
        """All keys are read from now on.

        Raises:
            CopyError: a server does not answer.
        """
        await self._listen()
        self.dirty.begin()
        self._marks = await self._look()

    async def settle(self) -> None:
        """Hear all that was told before now. A connection that fails makes everything dirty."""
        try:
            for feed in self._feeds:
                await feed.settle(self._pair.seconds)
        except CopyError as error:
            self.dirty.lose(error.message)

    async def known(self, *, settings: bool = True) -> bool:
        """Whether it is known what changed, once all was heard that was told before.

        Args:
            settings: whether a CONFIG SET by anybody makes it unknown.

        Raises:
            CopyError: a server does not answer.
        """
        await self.settle()
        if self.dirty.everything is None and (why := await self.breach(settings=settings)):
            self.dirty.lose(why)
        if self.silent is not None:
            self.dirty.lose(self.silent)
        return self.dirty.everything is None

    async def breach(self, *, settings: bool = True) -> str | None:
        """What happened since the last full pass began that nobody tells key by key.

        Raises:
            CopyError: a server does not answer.
        """
        for who, now in (await self._look()).items():
            if said := untold(self._marks[who], now, settings=settings):
                return f"{who} {said}"
        return None

    async def close(self) -> None:
        """Listen no more, and give notify-keyspace-events back where that is possible."""
        for feed in self._feeds:
            await feed.close()
        if self._pair.source:
            clients = self._pair.source[self._pair.dbs[0]]
            await give_back(clients, self._notify, seconds=self._pair.seconds)
        self._remember()

    async def _have_it_tell(self, who: str, address: Address, client: Redis) -> None:
        flags = await flags_of(who, client, self._pair.seconds)
        if flags is None:
            site = self._pair.sites[0]
            numbers = (b"aragora:migrate:probe:%d" % number for number in itertools.count())
            key = next(each for each in numbers if site.holder(each) == address)
            if not await tells_all(who, client, self._pair.dbs[0], key, self._pair.seconds):
                self.silent = f"{who} does not tell of changes, and forbids CONFIG"
        elif not enough(flags):
            ours = with_enough(flags)
            # What an interrupted run found is what was before, not what it left.
            former, _ = self._notify.get(str(address), (flags, ours))
            self._notify[str(address)] = [former, ours]
            self._remember()
            if not await switch(who, client, ours, self._pair.seconds):
                del self._notify[str(address)]
                self.silent = f"{who} does not let us set notify-keyspace-events"

    async def _listen(self) -> None:
        """Hear all of the source's primaries, by new connections where one was lost."""
        if self.silent is not None or (self._feeds and not any(each.lost for each in self._feeds)):
            return
        for feed in self._feeds:
            await feed.close()
        self._feeds = [
            Feed(who, client, self._pair.dbs, self.dirty.add)
            for who, _, client in self._pair.servers(self._pair.source)
        ]
        for feed in self._feeds:
            try:
                await feed.open(self._pair.seconds)
            except CopyError as error:
                if not feed.forbidden:
                    raise
                self.silent = error.message

    async def _look(self) -> Mapping[str, Mark]:
        marks = {}
        for who, _, client in self._pair.servers(self._pair.source):
            flags = None if self.silent else await flags_of(who, client, self._pair.seconds)
            marks[who] = mark_of(await self._pair.info(who, client), flags)
        for who, _, client in self._pair.servers(self._pair.target):
            marks[who] = mark_of(await self._pair.info(who, client), evictions=True)
        return marks
