"""Several workers on one port: each a process and an instance of its own, replaced when it ends.

Each of them listens on the port by itself (`SO_REUSEPORT`): the kernel deals connections out, and
none to a worker that has ended. A port of its own on loopback tells of each worker alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from ..clock import SYSTEM_CLOCK, full_jitter
from ..errors import AragoraRedisError, SettingsError
from ..lab import Lab
from ..settings import Settings
from ..state.shared import SharedState
from ..telemetry.logs import configure_logging
from .app import create_app
from .server import DRAIN, listen, on_signals, run, run_in_loop, url_of
from .worker import BEAT, Worker, keep_in_touch

SILENT = 30 * BEAT
"""Seconds without a sign of life after which a worker is ended by force."""
END = DRAIN + 5.0
"""Seconds that a worker is given to end in order."""
KILLED = 5.0
"""Seconds that it is waited for then: the system may not be able to end it at once."""
_LOOK_EVERY = 0.02
"""Seconds between looks whether it has gone."""
PAUSE = 30.0
"""Seconds at most between a worker that ends soon after its start and the next one."""
START = 60.0
"""Seconds in which a worker has to serve, before which it is not expected to give any sign."""
_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_FORKING = multiprocessing.get_context("forkserver")  # which has imported what a worker needs
_log = logging.getLogger(__name__)


async def run_workers(
    settings: Settings,
    *,
    lab: Path | None = None,
    on_listening: Callable[[str], None] | None = None,
) -> None:
    """Run the gateway in several processes until SIGINT or SIGTERM; SIGHUP rereads their policies.

    Args:
        settings: where to listen, how many are to, and which Redis to follow.
        lab: the directory of what the dashboard may act on.
        on_listening: told the URL once all of them serve.

    Raises:
        SettingsError: it cannot be started so; nothing is left running.
        AragoraRedisError: a worker did not come up; nothing is left running.
    """
    if settings.mode == "embedded":
        raise SettingsError(
            "workers without a Redis would not know of each other",
            remedy="set ARAGORA_REDIS_URL, or run one worker",
        )
    create_app(SharedState(settings))  # a mistake is told once, before any of them starts
    gateway = settings.gateway
    with contextlib.ExitStack() as held:
        for each in listen(gateway.host, gateway.port):  # who else listens there is told of
            each.close()
        for each in listen(gateway.host, gateway.port, shared=True, begin=False):
            held.enter_context(each)
        inner = [held.enter_context(listen("127.0.0.1", 0)[0]) for _ in range(gateway.workers)]
        ports = tuple(each.getsockname()[1] for each in inner)
        key = secrets.token_bytes(32)
        _FORKING.set_forkserver_preload([__name__])
        stop = asyncio.Event()
        places = [
            _Place(settings, Worker(number, ports, key), listener, lab, stop)
            for number, listener in enumerate(inner)
        ]

        def hang_up() -> None:
            for place in places:
                place.send(signal.SIGHUP)

        with on_signals(
            {signal.SIGINT: stop.set, signal.SIGTERM: stop.set, signal.SIGHUP: hang_up}
        ):
            keeping = [asyncio.create_task(place.keep()) for place in places]
            try:
                serve = await _all_serve(places, keeping)
                if serve and on_listening is not None:
                    on_listening(url_of(gateway))
                await asyncio.gather(*keeping)
            finally:
                stop.set()
                await asyncio.gather(*keeping, return_exceptions=True)


async def _all_serve(places: list[_Place], keeping: list[asyncio.Task[None]]) -> bool:
    """Wait until all serve; False where one ends instead."""

    async def all_serve() -> None:
        for place in places:
            await place.serves.wait()

    serving = asyncio.create_task(all_serve())
    await asyncio.wait({serving, *keeping}, return_when=asyncio.FIRST_COMPLETED)
    return not serving.cancel()


class _Place:
    """The place of one worker, which is kept filled until `stop` is set."""

    def __init__(
        self,
        settings: Settings,
        worker: Worker,
        listener: socket.socket,
        lab: Path | None,
        stop: asyncio.Event,
    ) -> None:
        self.serves = asyncio.Event()
        """Set while a worker serves here."""
        self._settings = worker.settings(settings)
        self._worker = worker
        self._rest = (listener, lab)
        self._number = worker.number
        self._stop = stop
        self._pid: int | None = None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the worker that serves here, if any does."""
        if self.serves.is_set():
            _kill(self._pid, number)

    async def keep(self) -> None:
        """Keep a worker here.

        Raises:
            AragoraRedisError: the first one did not come up.
        """
        has_served, failures = False, 0
        while True:
            began = SYSTEM_CLOCK.monotonic()
            try:
                code, served = await self._one()
            except (OSError, EOFError) as error:  # no process, no descriptor, or no forkserver
                fate = f"could not be started ({error})"
                remedy = "see whether this machine has processes, memory and open files left"
            else:
                fate, remedy = f"has ended with code {code}", "what it wrote says why"
                has_served = has_served or served
            if self._stop.is_set():
                return
            if not has_served:
                raise AragoraRedisError(f"worker {self._number} {fate}", remedy=remedy)
            self._worker = replace(self._worker, replaces=True)
            failures = failures + 1 if SYSTEM_CLOCK.monotonic() - began < PAUSE else 0
            pause = full_jitter(failures, base=0.1, cap=PAUSE)
            _log.warning("worker %d %s: the next one starts in %.1f s", self._number, fate, pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)

    async def _one(self) -> tuple[int | None, bool]:
        """Run one worker to its end: its exit code, if known, and whether it has served.

        Raises:
            OSError, EOFError: it could not be started.
        """
        ours, theirs = _FORKING.Pipe()
        process = _FORKING.Process(
            target=_work, args=(self._settings, self._worker, *self._rest, theirs)
        )
        try:
            with _signals_held():
                process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._pid = pid = process.pid
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        heard_at = SYSTEM_CLOCK.monotonic()

        def hear() -> None:
            nonlocal heard_at
            if not _heard(ours):  # the process has gone; its sentinel would tell of the forkserver
                loop.remove_reader(ours.fileno())
                ended.set()
                return
            heard_at = SYSTEM_CLOCK.monotonic()
            self.serves.set()

        loop.add_reader(ours.fileno(), hear)
        try:
            while not (ended.is_set() or self._stop.is_set()):
                await _first_of(ended, self._stop, within=BEAT)
                silence = SYSTEM_CLOCK.monotonic() - heard_at
                if silence > (SILENT if self.serves.is_set() else START):
                    _log.error("worker %d gives no sign of life: it is ended", self._number)
                    break
            else:
                if not ended.is_set():
                    _kill(pid, signal.SIGTERM)
                    await _first_of(ended, within=END)
        finally:
            try:
                if not ended.is_set():
                    _kill(pid, signal.SIGKILL)
                await _joined(process)
            finally:
                loop.remove_reader(ours.fileno())
                served = self.serves.is_set()
                self.serves.clear()
                ours.close()
        return process.exitcode, served


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Hold signals back, here and in what is started meanwhile: that ends when all others have.

    A terminal and a service manager send signals to the forkserver too, which may not end by them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        resource_tracker.ensure_running()  # now, because it lets signals through at its start
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill(pid: int | None, number: signal.Signals) -> None:
    """Send a signal to a worker whose end has not been heard of, though it may just have come."""
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _heard(worker: Connection) -> bytes:
    """The signs of life that have come; none at the end of the pipe."""
    try:
        return os.read(worker.fileno(), 4096)
    except OSError:
        return b""


async def _joined(process: ForkServerProcess) -> None:
    """Wait until a process that is at its end has gone, for `KILLED` at most.

    Without a thread: where the machine has no processes left, it has none of those either.
    """
    for _ in range(round(KILLED / _LOOK_EVERY)):
        process.join(0)
        if process.exitcode is not None:
            return
        await asyncio.sleep(_LOOK_EVERY)


async def _first_of(*events: asyncio.Event, within: float) -> None:
    """Wait until one of these is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


def _work(
    settings: Settings,
    worker: Worker,
    listener: socket.socket,
    lab: Path | None,
    supervisor: Connection,
) -> None:
    """What a worker's process does."""
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    configure_logging(settings.log_level, settings.log_format)
    try:
        run_in_loop(
            run(
                settings,
                lab=Lab.open(lab) if lab is not None else None,
                on_listening=lambda _url: keep_in_touch(supervisor),
                worker=worker,
                listener=listener,
            )
        )
    except AragoraRedisError as error:
        _log.critical("worker %d: %s", worker.number, error)
        sys.exit(1)
