"""A seeded random mix of operations on one subject, written down as a history."""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from aragora_redis.errors import CircuitOpenError

from .history import Call, Recorder
from .slots import NOWHERE
from .subjects import COUNTED, EVERYBODY, HOT, SLOW, Ours, Read, Subject

FIELDS = ("a", "b", "c")
POOL = 6
"""Sessions that live at once, about."""
LAG_FROM = 0.01
"""Seconds by which the loop must be late for it to be noted."""


class Workload:
    """What one client does until it is told to stop.

    Args:
        tell: sends something to the other clients, by way of the drill.
    """

    def __init__(
        self,
        subject: Subject,
        recorder: Recorder,
        name: str,
        seed: int,
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self._subject = subject
        self._recorder = recorder
        self._name = name
        self._random = random.Random(f"{seed} {name}")
        self._tell = tell
        self._revoked = 0
        self._updated = 0
        self._sessions: OrderedDict[str, str] = OrderedDict()
        self._tasks: list[asyncio.Task[None]] = []
        self._names: list[str] = [name]
        self._last_read: Read | None = None

    def start(self) -> None:
        """Begin."""
        loops: list[tuple[Callable[[], Awaitable[None]], float]] = [
            (lambda: self.check(HOT, EVERYBODY), 0.025),
            (lambda: self.check(SLOW, EVERYBODY), 0.1),
            (lambda: self.check(COUNTED, EVERYBODY), 0.05),
            (self.revoke_next, 0.25),
            (self.verify_some, 0.025),
            (self.touch_a_session, 0.07),
        ]
        if isinstance(self._subject, Ours):
            loops += [(self.probe, 0.03)] * 2
        self._tasks = [asyncio.create_task(self._repeat(*each)) for each in loops]
        self._tasks.append(asyncio.create_task(self._note_lag()))

    async def stop(self) -> None:
        """End, when what is under way has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def learn(self, news: dict[str, Any]) -> None:
        """Take in what another client has told."""
        if "session" in news:
            self._sessions[news["session"]] = news["id"]
            while len(self._sessions) > 8 * POOL:
                self._sessions.popitem(last=False)
        if "client" in news and news["client"] not in self._names:
            self._names.append(news["client"])

    # --- operations ---------------------------------------------------------------------

    async def check(self, policy: str, subject: str) -> None:
        slot, counts = self._subject.limit_slot(subject), policy == COUNTED
        with self._recorder.call("check", policy, early=counts, slot=slot) as call:
            if (
                checked := await self._tried(call, self._subject.check(policy, subject))
            ) is not None:
                call.answer, call.source = checked.allowed, checked.source
                call.version = checked.taken

    async def flood(self, count: int) -> None:
        """Check the limit that counts, all at once."""
        await asyncio.gather(*(self.check(COUNTED, EVERYBODY) for _ in range(count)))

    async def revoke_next(self) -> None:
        self._revoked += 1
        await self.revoke(f"{self._name}-{self._revoked}")

    async def revoke(self, name: str) -> None:
        with self._recorder.call("revoke", name, early=True) as call:
            if (made := await self._tried(call, self._subject.revoke(name))) is not None:
                call.answer, call.disk = made

    async def verify_some(self) -> None:
        """One of what anybody may have revoked by now; all do so at about the same rate."""
        who = self._random.choice(self._names)
        newest = max(self._revoked, 1)
        number = self._random.randint(max(1, newest - 40), newest + 1)
        await self.verify(f"{who}-{number}")

    async def verify(self, name: str) -> None:
        with self._recorder.call("verify", name, slot=self._subject.token_slot(name)) as call:
            call.answer = await self._tried(call, self._subject.verify(name))

    async def touch_a_session(self) -> None:
        dice = self._random.random()
        if not self._sessions or (dice < 0.04 and len(self._sessions) < 8 * POOL):
            await self.begin_session()
            return
        label = self._random.choice(list(self._sessions)[-2 * POOL :])
        read = await self.read(label)
        if read is None or dice < 0.4:
            return
        if dice < 0.42:
            await self.end(label, read)
        elif dice < 0.5:  # a slow request, which may come after the end
            await asyncio.sleep(self._random.uniform(0.2, 1.0))
            await self.update(label, read)
        else:
            await self.update(label, read)

    async def begin_session(self) -> None:
        label = f"{self._name}.{time.monotonic():.6f}"
        with self._recorder.call("create", label, early=True) as call:
            session_id = await self._tried(call, self._subject.create(label))
        if session_id is not None:
            self._tell({"session": label, "id": session_id})

    async def read(self, label: str, session_id: str | None = None) -> Read | None:
        session_id = session_id or self._sessions[label]
        slot = self._subject.session_slot(session_id)
        with self._recorder.call("read", label, slot=slot) as call:
            found: Read | None = await self._tried(call, self._subject.read(session_id))
            if found is not None:
                call.version, call.data, call.source = found.version, dict(found.data), found.source
            elif call.outcome == "ok":
                call.outcome = "gone"
        return found

    async def update(self, label: str, read: Read, name: str | None = None) -> None:
        self._updated += 1
        name = name or self._random.choice(FIELDS)
        value = f"{self._name}:{self._updated}"
        base = read.data.get(name)
        with self._recorder.call(
            "update",
            label,
            early=True,
            field=name,
            base=base,
            value=value,
            version=read.version,
            slot=self._slot(label),
        ) as call:
            call.answer = await self._tried(call, self._subject.update(read, name, value))

    async def write_again(self, label: str, *, unread: bool = False) -> None:
        """Change a session; `unread` as it was when this client changed it last."""
        if not unread:
            read = await self.read(label)
            assert read is not None
            await self.update(label, read, "a")
            self._last_read = await self.read(label)
        elif self._last_read is not None:
            await self.update(label, self._last_read, "a")

    async def end(self, label: str, read: Read) -> None:
        with self._recorder.call("end", label, early=True, slot=self._slot(label)) as call:
            call.answer = await self._tried(call, self._subject.end(read))

    async def probe(self) -> None:
        """Try a circuit that is kept half-open: no trial call says anything of the dependency."""
        subject = self._subject
        assert isinstance(subject, Ours)
        try:
            permit = await subject.acquire()
        except CircuitOpenError:
            return
        if not permit.trial:
            return
        circuit = subject.state.circuits["drill"]
        circuit.follow(permit)
        source = "local" if permit.kind == "l" else "redis"
        with self._recorder.call("probe", circuit.name, early=True, source=source) as call:
            await asyncio.sleep(self._random.uniform(0.01, 0.2))
            call.outcome = "ok"
        await circuit.release(permit)

    async def sweep(self, names: Iterable[str], sessions: dict[str, str]) -> None:
        """Look at everything that was ever revoked or begun."""
        for name in names:
            await self.verify(name)
        for label, session_id in sessions.items():
            await self.read(label, session_id)

    # --- around them ----------------------------------------------------------------------

    def _slot(self, label: str) -> int:
        known = self._sessions.get(label)
        return NOWHERE if known is None else self._subject.session_slot(known)

    async def _tried(self, call: Call, work: Awaitable[Any]) -> Any:
        try:
            answer = await work
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - what is not documented is what is looked for
            outcome = self._subject.outcome(error)
            call.outcome = outcome or "unknown"
            if outcome is None:
                self._recorder.happened("unhandled", text=f"{call.what}: {error!r}"[:300])
            return None
        call.outcome = "ok"
        return answer

    async def _repeat(self, work: Callable[[], Awaitable[None]], every: float) -> None:
        while True:
            await work()
            await asyncio.sleep(self._random.expovariate(1 / every))

    async def _note_lag(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            lag = time.monotonic() - began - 0.01
            if lag > LAG_FROM:
                self._recorder.happened("lag", value=lag)
