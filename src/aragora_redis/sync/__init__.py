"""The same face for threads: `from aragora_redis.sync import SharedState`.

All states of a process share one event loop in a thread of its own (uvloop, where that is
installed); a call crosses over to it and waits. What can be answered from this process's memory
does not cross: whether a token is revoked, a limit that is known to be used up, a call through a
circuit that is closed.

After a fork, the child makes itself anew at its first call: connections, a loop, a boot id. What
was started in the parent and not asked anything there is closed before the fork, and is no
instance; it begins in the parent too when somebody asks. What is not closed is closed when its
process ends, but for one that ends by `os._exit` or a signal.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from ..clock import SYSTEM_CLOCK, Clock
from ..events import Events
from ..policies import Policies, load_policies
from ..settings import Settings, from_env
from ..state import shared as state
from ..state.shared import START_LIMIT
from ..state.status import Status
from ..times import Duration
from .audit import Audit
from .circuits import Circuit, Circuits
from .crossing import Crossing
from .rate_limits import RateLimits
from .refresh_tokens import RefreshTokens
from .sessions import Sessions
from .tokens import Tokens

__all__ = [
    "Audit",
    "Circuit",
    "Circuits",
    "RateLimits",
    "RefreshTokens",
    "Sessions",
    "SharedState",
    "Tokens",
]


class SharedState:
    """The shared state of a service, for threads. Use it as a context manager, or start and close.

    Methods have the names and meanings of `aragora_redis.SharedState`, less `await`, and raise what
    those raise; before `start` and after `close` all raise `NotStartedError`. They must not be
    called from a coroutine, whose loop they would hold up.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        policies: Policies | None = None,
        clock: Clock = SYSTEM_CLOCK,
        events: Events | None = None,
    ) -> None:
        self.settings = settings
        self.events = events if events is not None else Events()
        """Those of all that it makes: when it is started again, and in each fork."""
        self._given = policies
        self._used: Policies | None = None
        self._made: state.SharedState | None = None

        def make() -> state.SharedState:
            before, used = self._made, self._used
            if before is not None:
                if before.closed:
                    return before
                before.end_outages()  # one that lives on in the parent still listens here
            made = self._made = state.SharedState(
                settings, policies=policies, clock=clock, events=self.events
            )
            made.audit.via = "sync"
            # Else the file has changed since: what it says was in force, and is read by now.
            if used is not None and (before is None or before.policies is used):
                made.use_policies(used)
            return made

        self._crossing = Crossing(make, deadline=max(own.deadline for own in settings.each_redis()))
        self.rate_limits = RateLimits(self._crossing)
        self.tokens = Tokens(self._crossing)
        self.refresh_tokens = RefreshTokens(self._crossing)
        self.sessions = Sessions(self._crossing)
        self.circuits = Circuits(self._crossing)
        self.audit = Audit(self._crossing)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Build it from `ARAGORA_*` variables, see docs/ENVIRONMENT.md.

        Raises:
            SettingsError: lists every problem found.
        """
        return cls(from_env(environ))

    def __enter__(self) -> Self:
        try:
            self.start()
            if not self.wait_ready(START_LIMIT):
                self._crossing.cross(_warn, 0, looks=True)
        except BaseException:  # who is interrupted here does not come to leave it
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Connect and follow in the background; returns at once. Each fork does so by itself."""
        self._crossing.start()

    def close(self) -> None:
        """End all connections and tasks."""
        self._crossing.close()

    @property
    def crossing(self) -> Crossing:
        """The way into the background loop, for what is built upon this face."""
        return self._crossing

    @property
    def policies(self) -> Policies:
        """Those in force; before the start those that it starts with."""
        if self._made is not None:
            return self._made.policies
        return self._given if self._given is not None else load_policies(self.settings.policies)

    def use_policies(self, policies: Policies) -> None:
        """Put other policies in force: at once, for all that is in use, and in forks from now on.

        Until the policies file changes, see `aragora_redis.SharedState.use_policies`.
        """

        async def use(there: state.SharedState) -> None:
            there.use_policies(policies)

        self._crossing.cross(use, 0, looks=True)
        self._used = policies

    def reread_policies(self) -> None:
        """Read the policies file now; a bad one changes nothing."""

        async def reread(there: state.SharedState) -> None:
            there.reread_policies()

        self._crossing.cross(reread, 0, looks=True)

    def wait_ready(self, within: Duration) -> bool:
        """Wait until tokens can be judged; False if they cannot after `within` seconds."""
        return self._crossing.cross(lambda there: there.wait_ready(within), within, looks=True)

    @property
    def ready(self) -> bool:
        """Whether the revocations are loaded, and the fleet has reconciled what it knew."""
        return self._crossing.seen.ready

    def status(self) -> Status:
        """How this instance is, now."""

        async def ask(there: state.SharedState) -> Status:
            return there.status()

        return self._crossing.cross(ask, 0, looks=True)


async def _warn(there: state.SharedState) -> None:
    there.warn_not_ready()
