"""Listen, serve, and stop in order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

import uvicorn
from msgspec.structs import replace
from uvicorn.loops.auto import auto_loop_factory

from ..address import Address
from ..errors import SettingsError
from ..lab import Lab
from ..ops.open_files import allow_files
from ..settings import GatewaySettings, Settings
from ..state.shared import SharedState
from .app import Gateway, create_app
from .bounded import BoundedProtocol
from .worker import Worker

BACKLOG = 1024
"""Connections that may wait to be accepted."""
OTHER_FILES = 256
"""Files that are kept free beside them: the connections to Redis and to Sentinels, the outbox."""
LEAST_ROOM = 64
"""Connections that are held however few files there may be."""
DRAIN = 5
"""Seconds that requests in progress are given at the end."""

_log = logging.getLogger(__name__)


def listen(
    host: str, port: int, *, shared: bool = False, begin: bool = True
) -> list[socket.socket]:
    """Listen on every address of `host`; port 0 takes a free one.

    Args:
        host: a name or address of this machine.
        port: the port.
        shared: other processes of this user may listen there too, and connections are dealt out.
        begin: whether to listen, or only to hold the port.

    Raises:
        SettingsError: the port is taken, or the host is not this machine's.
    """
    with contextlib.ExitStack() as opened:
        found = []
        for family, address in _addresses(host, port):
            # The protocol is named, or asyncio leaves Nagle's algorithm on: of an answer in parts
            # the second would wait 40 ms for the client to confirm.
            made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            listener = opened.enter_context(made)
            if shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _bind(listener, family, address, Address(host, port), begin=begin)
            found.append(listener)
        opened.pop_all()
        return found


def _addresses(host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
    try:
        infos = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no host name"
        raise SettingsError(
            f"the gateway cannot listen on {host}: {why}",
            remedy="set ARAGORA_HOST to a name or address of this machine",
        ) from None
    return list(dict.fromkeys((info[0], info[4]) for info in infos))


def _bind(
    listener: socket.socket,
    family: int,
    address: tuple[object, ...],
    asked: Address,
    *,
    begin: bool,
) -> None:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        listener.bind(address)
        # Of two that only bound the port, one would learn of the other when it is too late.
        if begin:
            listener.listen(BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(
                f"the gateway cannot listen on {asked}: the port is in use",
                remedy="choose another with ARAGORA_PORT, or end what listens there",
            ) from None
        raise SettingsError(
            f"the gateway cannot listen on {asked}: {os.strerror(error.errno or 0)}",
            remedy="set ARAGORA_HOST and ARAGORA_PORT to what this process may use",
        ) from None


class _Server(uvicorn.Server):
    """A server that leaves signals, and so the exit code of the process, to who runs it."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        await super().startup(sockets)
        if self._on_started is not None:
            self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    app: Gateway,
    listeners: Sequence[socket.socket],
    stop: asyncio.Event,
    on_started: Callable[[], None] | None = None,
) -> None:
    """Serve until `stop` is set or this is cancelled; requests in progress are answered."""
    crowd = app.crowd
    server = _Server(
        uvicorn.Config(
            app.front,
            log_config=None,
            access_log=False,  # its lines would hold whatever a client put into the path
            server_header=False,
            proxy_headers=False,
            http=cast("type[asyncio.Protocol]", partial(BoundedProtocol, crowd=crowd)),
            ws="none",
            lifespan="on",
            backlog=BACKLOG,
            timeout_keep_alive=crowd.limits.keep_alive,
            timeout_graceful_shutdown=DRAIN,
        ),
        on_started,
    )
    serving = asyncio.create_task(server.serve(sockets=list(listeners)))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        app.stopping.set()
        server.should_exit = True
        await serving


def run_in_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run this to its end, in uvloop where that is installed."""
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(work)


async def run(
    settings: Settings,
    *,
    lab: Lab | None = None,
    on_listening: Callable[[str], None] | None = None,
    worker: Worker | None = None,
    listener: socket.socket | None = None,
) -> None:
    """Run the gateway of these settings until SIGINT or SIGTERM; SIGHUP rereads its policies.

    Args:
        settings: where to listen, and which Redis to follow.
        lab: what the dashboard may act on.
        on_listening: told the URL once connections are accepted.
        worker: which of several on that port this is.
        listener: where it listens for itself alone then.

    Raises:
        SettingsError: it cannot be started so; nothing is left running.
    """
    settings = _within_files(settings)
    gateway = settings.gateway
    state = SharedState(settings)
    app = create_app(state, lab=lab, worker=worker)
    shared = worker is not None
    listeners = listen(gateway.host, gateway.port, shared=shared, begin=not shared)
    if listener is not None:
        listeners.append(listener)
    stop = asyncio.Event()
    handlers = {
        signal.SIGINT: stop.set,
        signal.SIGTERM: stop.set,
        signal.SIGHUP: state.reread_policies,
    }
    with on_signals(handlers):
        told = partial(on_listening, url_of(gateway)) if on_listening is not None else None
        await serve(app, listeners, stop, told)


def _within_files(settings: Settings) -> Settings:
    """The settings with as many connections as this process may have files for."""
    http = settings.gateway.http
    spare = BACKLOG + OTHER_FILES
    room = allow_files(http.max_connections + spare) - spare
    if room >= http.max_connections:
        return settings
    room = max(LEAST_ROOM, room)
    _log.warning(
        "this process may have few files open, so it holds %d connections at a time and not %d; "
        "raise LimitNOFILE or `ulimit -Hn`, or lower ARAGORA_HTTP_MAX_CONNECTIONS",
        room,
        http.max_connections,
    )
    http = replace(http, max_connections=room)
    return replace(settings, gateway=replace(settings.gateway, http=http))


def url_of(gateway: GatewaySettings) -> str:
    """Where a gateway with these settings listens."""
    return f"http://{Address(gateway.host.strip('[]'), gateway.port)}"


@contextlib.contextmanager
def on_signals(handlers: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Have the running loop call these when signals come, while this lasts."""
    loop = asyncio.get_running_loop()
    for each, handler in handlers.items():
        loop.add_signal_handler(each, handler)
    try:
        yield
    finally:
        for each in handlers:
            loop.remove_signal_handler(each)
