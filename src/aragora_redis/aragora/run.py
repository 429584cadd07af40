"""Start the Aragora server with our layer under it, in this process."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Any

from ..errors import AragoraRedisError, SettingsError
from ..events import Events
from ..policies import load_policies
from ..settings import Feature, Settings, from_env
from ..state.shared import START_LIMIT
from ..sync import SharedState
from ..telemetry.logs import EventLog
from . import selfcheck
from .blacklist import Blacklist
from .breakers import Breakers
from .handler_limits import HandlerLimits
from .limits import with_aragora
from .lockout import Lockout
from .rate_limiter import RateLimiters
from .seam import Finding, Seam
from .sessions import Sessions
from .shared import Shared

_SERVER = "aragora.server.__main__"
_EVENT_LOG = EventLog.__module__


def run(
    arguments: Sequence[str],
    *,
    say: Callable[[str], None],
    any_version: bool = False,
    only_check: bool = False,
) -> int:
    """Run the server until it ends, or only the self-check; the exit code.

    Args:
        arguments: those of `python -m aragora.server`.
        say: takes the lines of the self-check.
        any_version: put seams in place that were not checked against the installed version.
        only_check: end after the self-check; 1 unless all that has a seam is on Redis.

    Raises:
        SettingsError: the environment does not describe a Redis.
        AragoraRedisError: Aragora is not installed, or cannot be started.
    """
    version = _aragora()
    settings = from_env()
    if settings.mode == "embedded":
        raise SettingsError(
            "no Redis is configured, and without one Aragora's state cannot be shared",
            remedy="set ARAGORA_REDIS_SENTINEL_HOSTS and _MASTER, or ARAGORA_REDIS_URL",
        )
    events = Events()
    EventLog().listen(events)
    logging.getLogger(_EVENT_LOG).addFilter(_plain)
    state = SharedState(
        settings, policies=with_aragora(load_policies(settings.policies)), events=events
    )
    state.start()
    try:
        placed = selfcheck.install(seams(Shared(state), settings), version, any_version=any_version)
        return _serve(arguments, state, placed, say, only_check=only_check)
    finally:
        state.close()


def seams(shared: Shared, settings: Settings) -> list[Seam]:
    """All of them, in the order in which they are told of."""
    return [
        Blacklist(shared),
        RateLimiters(shared),
        HandlerLimits(shared),
        Lockout(shared),
        Breakers(shared),
        Sessions(settings.of(Feature.SESSIONS)),
    ]


def _plain(record: logging.LogRecord) -> bool:
    """Aragora's log writes as JSON whatever a record carries, and cannot write our events."""
    record.__dict__.pop("event", None)
    return True


def _aragora() -> str:
    try:
        return installed("aragora")
    except PackageNotFoundError:
        raise AragoraRedisError(
            "Aragora is not installed beside this command",
            remedy="install it with: pip install 'aragora==2.11.1' redis bcrypt",
        ) from None


def _serve(
    arguments: Sequence[str],
    state: SharedState,
    placed: list[Seam | Finding],
    say: Callable[[str], None],
    *,
    only_check: bool,
) -> int:
    """Aragora sets its environment and log, then our check runs, then its server."""
    try:
        server: Any = import_module(_SERVER)
        serve = server.run_unified_server
    except (ImportError, AttributeError) as error:
        raise AragoraRedisError(
            f"the Aragora server cannot be started: {error}",
            remedy="see that `python -m aragora.server --help` works",
        ) from error
    seen: list[Finding] = []

    def check() -> None:
        state.wait_ready(START_LIMIT)
        seen.extend(selfcheck.verify(placed))
        for line in selfcheck.lines(seen):
            say(line)

    async def checked(**options: Any) -> None:
        await asyncio.to_thread(check)
        if not only_check:
            await serve(**options)

    server.run_unified_server = checked
    sys.argv = ["aragora-redis run-aragora", *arguments]
    server.main()
    return 0 if not only_check or selfcheck.whole(seen) else 1
