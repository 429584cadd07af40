"""Watch every Sentinel: pushed news first, a poll each second as backstop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from ..address import Address
from ..clock import Clock, full_jitter
from ..errors import AragoraRedisError, LinkDownError, SettingsError
from ..events import EpochReset, Events, SentinelsSplit, SwitchAnnounced, Unreachable, ViewChanged
from ..settings import names
from ..topology.panel import Choice, Panel, Split, View
from ..topology.statement import SentinelStatement, read_id, read_statement, read_switch
from .connection import Login, connect
from .pipe import Pipe
from .proof import told_fault
from .supervision import supervised

POLL_EVERY = 1.0
ASK_LIMIT = 0.5
"""Seconds that a Sentinel has to answer."""
CONNECT_LIMIT = 1.0
RETRY_BASE, RETRY_CAP = 0.05, 1.0
SENTINEL_LIMIT = 16
"""Sentinels watched at most, learned ones included."""
CONFIRM_LIMIT = 2.0
"""Seconds after which writes resume if another primary was confirmed by nobody."""
_NEWS = (
    b"+switch-master",
    b"+promoted-slave",
    b"+config-update-from",
    b"+sdown",
    b"-sdown",
    b"+odown",
    b"-odown",
    b"+slave",
    b"+reboot",
)
"""Events after which every Sentinel is asked anew. All but the first only save a wait."""


class Trouble(Struct, frozen=True):
    """Why a Sentinel cannot be asked.

    Attributes:
        remedy: what helps; empty where nothing is known to.
        mistaken: whether the settings are, so that no waiting helps.
    """

    reason: str
    remedy: str
    mistaken: bool

    def __str__(self) -> str:
        return f"{self.reason} ({self.remedy})" if self.remedy else self.reason


class SentinelWatcher:
    """Keeps a panel up to date, and says when the primary changes.

    Args:
        master_name: what the Sentinels call the primary.
        addresses: the configured Sentinels; the others are learned.
        login: credentials for the Sentinels.
        data_login: credentials for the servers, to have one prove what most Sentinels say of it.
        panel: weighs what they say.
        on_view: told of each new view.
        on_doubt: told to stop writing, because a switch was announced, or most name another.
        on_confirmed: told that the primary is still the same after a doubt.
        on_lost: told why no primary is known yet.
    """

    def __init__(
        self,
        master_name: str,
        addresses: Sequence[Address],
        login: Login,
        data_login: Login,
        panel: Panel,
        *,
        clock: Clock,
        events: Events,
        on_view: Callable[[View], None],
        on_doubt: Callable[[str], None],
        on_confirmed: Callable[[], None],
        on_lost: Callable[[LinkDownError], None],
    ) -> None:
        self._master_name = master_name
        self._login = login
        self._data_login = data_login
        self._clock = clock
        self._events = events
        self._on_view = on_view
        self._on_doubt = on_doubt
        self._on_confirmed = on_confirmed
        self._on_lost = on_lost
        self._configured = tuple(addresses)
        self._tasks: dict[Address, asyncio.Task[None]] = {}
        self._ids: dict[Address, str] = {}
        self._pokes: dict[Address, asyncio.Event] = {}
        self._doubted_since: float | None = None
        self._refuted: Address | None = None
        """Who was named in place of the primary, and says that it is none."""
        self._proving: asyncio.Task[None] | None = None
        self._split: Split | None = None
        self.panel = panel
        self.troubles: dict[Address, Trouble] = {}
        """Why a Sentinel cannot be asked now, by address."""

    def start(self) -> None:
        """Begin to watch the configured Sentinels."""
        for address in self._configured:
            self._watch(address)

    async def close(self) -> None:
        """Stop watching."""
        tasks = [*self._tasks.values(), *([self._proving] if self._proving else [])]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def poke(self) -> None:
        """Ask every Sentinel now rather than at the next poll."""
        for poke in self._pokes.values():
            poke.set()

    def _watch(self, address: Address) -> None:
        if address not in self._tasks and len(self._tasks) < SENTINEL_LIMIT:
            self._pokes[address] = asyncio.Event()
            self._tasks[address] = asyncio.create_task(
                supervised(f"the watch on {address}", partial(self._follow, address))
            )

    # --- one Sentinel -------------------------------------------------------------------

    async def _follow(self, address: Address) -> None:
        attempt = 0
        while True:
            pipe: Pipe | None = None
            try:
                pipe = await connect(
                    address,
                    self._login,
                    timeout=CONNECT_LIMIT,
                    on_push=lambda push: self._on_push(address, push),
                )
                sentinel_id = await pipe.request("SENTINEL", "MYID", timeout=ASK_LIMIT)
                self._ids[address] = read_id(sentinel_id)
                await pipe.subscribe(_NEWS, timeout=ASK_LIMIT)
                poke = self._pokes[address]
                while True:
                    poke.clear()  # before the question: its answer may be older than the next poke
                    await self._ask(address, pipe, sentinel_id)
                    attempt = 0
                    await self._pause(poke)
            except AragoraRedisError as error:
                self._note_trouble(address, self._explain(error))
                attempt += 1
            finally:
                if pipe is not None:
                    pipe.close("no longer watched")
            await asyncio.sleep(full_jitter(attempt, base=RETRY_BASE, cap=RETRY_CAP))

    def _note_trouble(self, address: Address, trouble: Trouble) -> None:
        if self.troubles.get(address) != trouble:
            self._events.emit(Unreachable(f"Sentinel {address}", str(trouble)))
        self.troubles[address] = trouble
        if self.panel.view is None:
            self._on_lost(self._why_none(address))

    def _why_none(self, newest: Address) -> LinkDownError:
        """Why no primary is known: what is to be corrected comes before what may pass by itself."""
        mistaken = (at for at, trouble in self.troubles.items() if trouble.mistaken)
        address = next(mistaken, newest)
        trouble = self.troubles[address]
        at = "" if str(address) in str(trouble) else f", says Sentinel {address}"
        return LinkDownError(
            f"{trouble.reason}{at}; no Sentinel has named a primary yet", remedy=trouble.remedy
        )

    def _explain(self, error: AragoraRedisError) -> Trouble:
        told, mistake = str(error), None
        if "unknown command" in told and "SENTINEL" in told.upper():
            mistake = SettingsError(
                "this is no Sentinel", remedy=f"check {self._login.variable(names.HOSTS)}"
            )
        elif "No such master" in told:
            mistake = SettingsError(
                f"no master named {self._master_name!r} here",
                remedy=f"check {self._login.variable(names.MASTER)}",
            )
        told_of = mistake or error
        return Trouble(told_of.message, told_of.remedy, mistaken=mistake is not None)

    async def _pause(self, poke: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(POLL_EVERY):
                await poke.wait()
        except TimeoutError:
            return
        # News comes in bursts, and one question answers them all.
        await asyncio.sleep(0.005)

    async def _ask(self, address: Address, pipe: Pipe, sentinel_id: bytes) -> None:
        asked_at = self._clock.monotonic()
        # The epoch before the address: a promotion between the two must not make it too new.
        master, named, *others = await asyncio.gather(
            *(
                pipe.request("SENTINEL", what, self._master_name, timeout=ASK_LIMIT)
                for what in ("MASTER", "GET-MASTER-ADDR-BY-NAME", "SENTINELS", "REPLICAS")
            )
        )
        statement = read_statement(sentinel_id, named, master, *others, asked_at=asked_at)
        self.troubles.pop(address, None)
        self.panel.record(statement)
        self._learn(statement)
        self._decide()

    def _learn(self, statement: SentinelStatement) -> None:
        """Watch the peers that it lists, and no longer those that nobody lists or configured."""
        watched = {name for at, name in self._ids.items() if at not in self.troubles}
        for peer_id, peer in statement.peers.items():
            if peer_id not in watched:
                self._watch(peer)
        listed = {peer for said in self.panel.statements for peer in said.peers.values()}
        for gone in [at for at in self.troubles if at not in listed and at not in self._configured]:
            if (task := self._tasks.pop(gone, None)) is not None:
                task.cancel()
            for known in (self._ids, self._pokes, self.troubles):
                known.pop(gone, None)

    def _on_push(self, address: Address, push: list[Any]) -> None:
        if len(push) != 3 or push[0] != b"message":
            return
        if push[1] == b"+switch-master":
            announced = read_switch(push[2], self._master_name)
            view = self.panel.view
            if announced is not None and (view is None or announced != view.primary):
                self._events.emit(SwitchAnnounced(address))
                self._doubt("a Sentinel has announced another primary", self._clock.monotonic())
        self.poke()

    # --- what follows -----------------------------------------------------------------

    def _decide(self) -> None:
        now = self._clock.monotonic()
        outcome = self.panel.decide(now)
        if isinstance(outcome, Split):
            if self._split != outcome:
                self._events.emit(SentinelsSplit(str(outcome)))
            self._split = outcome
            self._settle_doubt(now)
            return
        self._split = None
        if outcome is not None and not outcome.insisted:
            self._adopt(outcome)
            return
        self._settle_doubt(now)
        named = outcome.view.primary if outcome is not None else self.panel.elsewhere(now)
        if named is not None and (self._proving is None or self._proving.done()):
            self._proving = asyncio.create_task(self._prove(named))

    def _doubt(self, reason: str, now: float) -> None:
        self._doubted_since = now
        self._on_doubt(reason)

    def _settle_doubt(self, now: float) -> None:
        """Write nothing while most Sentinels name another primary, unless that says it is none.

        Write again when most of them, asked since, name the old primary, or have not confirmed in
        time what one announced. While none of them can be asked, the doubt stands.
        """
        view, named = self.panel.view, self.panel.elsewhere(now)
        if self._refuted != named:
            self._refuted = None
        if view is None:
            return
        if named is not None and self._refuted is None:
            if self._doubted_since is None:
                self._doubt(f"most Sentinels name another primary, {named}", now)
            return
        if self._doubted_since is None:
            return
        asked = [s for s in self.panel.statements if s.asked_at > self._doubted_since]
        same = sum(s.primary == view.primary for s in asked) >= self.panel.majority
        if same or self._refuted is not None or now - self._doubted_since > CONFIRM_LIMIT:
            self._doubted_since = None
            self._on_confirmed()

    def _adopt(self, choice: Choice) -> None:
        old = self.panel.view
        self._doubted_since = None
        self.panel.adopt(choice.view)
        if choice.insisted and old is not None:
            self._events.emit(EpochReset(choice.view.primary, old.epoch, choice.view.epoch))
        if old is not None and old.primary == choice.view.primary:
            self._on_confirmed()
            return
        self._events.emit(
            ViewChanged(old.primary if old else None, choice.view.primary, choice.view.epoch)
        )
        self._on_view(choice.view)

    async def _prove(self, named: Address) -> None:
        """Have an address say what it is: adopt it when it is insisted on, or doubt no more."""
        try:
            fault = await told_fault(named, self._data_login)
        except AragoraRedisError:  # it proves nothing, and refutes nothing
            return
        now = self._clock.monotonic()
        self._refuted = named if fault is not None else None
        choice = self.panel.decide(now)
        if fault is not None:
            self._settle_doubt(now)
        elif isinstance(choice, Choice) and choice.insisted and choice.view.primary == named:
            self._adopt(choice)
