"""One client process of a drill: does as it is told on standard input, a JSON object a line.

Arguments: the subject, the client's name, the seed, the address to connect from, the file of its
history, and names of what is broken on purpose (see `broken.py`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aragora_redis.events import Event, SwitchAnnounced, ViewChanged

from . import broken, resources
from .history import Recorder
from .stale_sends import watch_sends
from .subjects import CIRCUIT, Ours, Subject
from .workload import Workload


class BoundLoop(asyncio.SelectorEventLoop):
    """A loop whose outgoing connections come from one address, so that it can be cut off."""

    host = ""

    async def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        """As asyncio's, from that address."""
        if (self.host and args and len(args) > 1) or (self.host and kwargs.get("host")):
            kwargs.setdefault("local_addr", (self.host, 0))
        return await super().create_connection(*args, **kwargs)


class Client:
    """Carries out what the drill asks for."""

    def __init__(self, subject: str, name: str, seed: int, path: Path) -> None:
        self._name = name
        self._subject = _make(subject)
        self._recorder = Recorder(path, name)
        self.workload = Workload(self._subject, self._recorder, name, seed, say)

    async def run(self) -> None:
        """Until told to stop."""
        handler = _Faults(self._recorder)
        logging.getLogger().addHandler(handler)
        if isinstance(self._subject, Ours):
            self._subject.state.events.subscribe(self._on_event)
            watch_sends(self._subject.state, self._recorder)
        await self._subject.start()
        self._recorder.happened("started")
        say({"ready": self._name})
        reader = asyncio.StreamReader(limit=2**24)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            if not await self._obey(json.loads(line)):
                break
        await self.workload.stop()
        await self._subject.close()
        left = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in left:
            self._recorder.happened("left-behind", text=repr(task.get_coro())[:200])
        say({"stopped": self._name})

    async def _obey(self, order: dict[str, Any]) -> bool:
        """Do as told, and say so; False where it is to end."""
        match order.pop("do"):
            case "learn":
                self.workload.learn(order)
            case "well?":
                say({"well": await self._subject.well(), "counts": self._subject.counts()})
            case "call":
                call = getattr(self.workload, order["name"])
                result = await call(*order["args"], **order["given"])
                say({"done": result if isinstance(result, str) else None})
            case "stop":
                return False
            case what:
                await self._do(what, order)
                say({"done": None})
        return True

    async def _do(self, what: str, order: dict[str, Any]) -> None:
        match what:
            case "load":
                self.workload.start()
            case "rest":
                await self.workload.stop()
            case "sweep":
                await self.workload.sweep(order["revoked"], order["sessions"])
            case "note resources":
                await resources.note(self._recorder)
            case "trip":
                await self._trip()
            case "step":
                assert isinstance(self._subject, Ours)
                self._subject.clock.by = order["by"]

    async def _trip(self) -> None:
        """Open the circuit, so that it is half-open from then on."""
        assert isinstance(self._subject, Ours)
        circuit = self._subject.state.circuits[CIRCUIT]
        for _ in range(20):
            permit = await circuit.acquire()
            circuit.count(permit, ok=False, duration=0.0)
        await circuit.report_evidence()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, ViewChanged):
            self._recorder.happened("view", text=str(event.new))
        elif isinstance(event, SwitchAnnounced):
            self._recorder.happened("announced", text=str(event.sentinel))


class _Faults(logging.Handler):
    """Notes what the library logs as a fault of its own."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(logging.ERROR)
        self._recorder = recorder

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += f": {record.exc_info[1]!r}"
        self._recorder.happened("unhandled", text=text[:300])


def _make(name: str) -> Subject:
    """The subject of a name: `ours`, or that of a peer."""
    if name == "ours":
        return Ours()
    # Ours is started far more often, and need not read what the peers need.
    from .peers import PEERS  # noqa: PLC0415

    return PEERS[name](os.environ)


def say(news: dict[str, Any]) -> None:
    """Tell the drill."""
    sys.stdout.write(json.dumps(news) + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> None:
    """Run one client."""
    subject, name, seed, host, path, *breaks = arguments
    BoundLoop.host = host
    for each in breaks:
        broken.apply(each)
    factory: Callable[[], asyncio.AbstractEventLoop] = BoundLoop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(Client(subject, name, int(seed), Path(path)).run())


if __name__ == "__main__":
    main(sys.argv[1:])
