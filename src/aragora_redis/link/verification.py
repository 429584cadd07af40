"""Have a server prove on a new connection that it can be written, and learn what it offers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from ..address import is_name
from ..clock import Clock, ServerTime
from ..errors import (
    AragoraRedisError,
    LayoutError,
    LinkDownError,
    RefusedError,
    UnexpectedReplyError,
)
from ..operation import Argument
from ..scripts.catalog import all_scripts, load
from ..topology.offers import INFO, ROLE, Offers, question_of
from ..topology.statement import counts_unheard, read_guarded, role_fault
from .connection import Target
from .pipe import Pipe
from .replies import RedirectError, unoffered

LAYOUT = b"2"
"""Version of the data's layout under the key prefix."""
MAINTENANCE = ("CLIENT", "MAINT_NOTIFICATIONS", "ON", "moving-endpoint-type", "none")
"""Have work on the servers announced; an endpoint that moves is looked up by its name."""
COUNTED = 1.1
"""Seconds within which a server has counted its replicas once more."""
COUNT_EVERY = 0.1
"""Seconds between looks: a fleet of hundreds looks at once."""
_OFFERS = load("offers")


class Verified(Struct, frozen=True):
    """What a server that may be written has told of itself.

    Attributes:
        guarded: whether it refuses writes without good replicas (`min-replicas-to-write`).
    """

    server_time: ServerTime
    guarded: bool
    offers: Offers


class Verification:
    """What is asked on each new connection, all at once.

    Args:
        layout_key: key that holds the version of the data's layout.
        by_slot: whether a call may hold keys of one slot only, so that nobody needs to ask.
        prepares: whether to load the scripts and mark an empty data set as ours; without it nothing
            is written but what operations write.
        judge_node: says by `CLUSTER NODES` what is wrong with the node that a name led to.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        layout_key: bytes,
        by_slot: bool,
        prepares: bool,
        judge_node: Callable[[Target, Any], str | None] | None = None,
    ) -> None:
        self._clock = clock
        self._layout_key = layout_key
        self._by_slot = by_slot
        self._prepares = prepares
        self._judge_node = judge_node

    async def run(
        self,
        pipe: Pipe,
        target: Target,
        *,
        has_layout: bool,
        channels: Sequence[bytes] | None,
        on_unheard: Callable[[], None] | None = None,
        patience: float,
    ) -> Verified:
        """Verify, and prepare.

        Args:
            pipe: a new connection.
            target: where it leads.
            has_layout: whether this server is the one that holds the layout's version.
            channels: what to subscribe to; None also hears nothing that the service announces.
            on_unheard: told that it waits for the replicas of a server that is about to miss them;
                None does not wait.
            patience: seconds for each answer.

        Raises:
            LinkDownError: it is no primary, or does not offer what nobody can do without.
            LayoutError: its data are of another version.
        """
        server = _Server(pipe, target, patience)
        nodes, role, info, time, layout, *_ = await asyncio.gather(
            self._ask_nodes(server),
            server.offered(*ROLE),
            server.offered(*INFO),
            server.demanded("TIME"),
            self._ask_layout(server) if has_layout else _none(),
            server.offered(*MAINTENANCE) if channels is not None else _none(),
            server.load_scripts() if self._prepares else _none(),
        )
        answered = self._clock.monotonic()
        fault = None
        if (role, info) != (None, None):
            fault = role_fault(role if role is not None else info, guarded=False)
        if fault is None and self._judge_node is not None and nodes is not None:
            fault = self._judge_node(target, nodes)
        if fault is not None:
            raise LinkDownError(f"{target} is not the primary: {fault}")
        self._check_layout(layout)
        if has_layout and layout is None and self._prepares:
            await self._claim_layout(server)
        across_slots, (rid, publishes) = await self._ask_scripts(server)
        decides = self._prepares and info is not None  # others only look, or pass bytes on
        if on_unheard is not None and decides and counts_unheard(info):
            on_unheard()
            await self._await_count(server)
        return Verified(
            ServerTime(answered, read_time(time)),
            guarded=info is not None and read_guarded(info),
            offers=Offers(
                question=question_of(role=role is not None, info=info is not None),
                across_slots=across_slots,
                replication_id=rid != b"",
                publishes=publishes == 1,
                subscribes=await server.subscribed(channels or ()),
                fsyncs=await server.fsyncs(),
            ),
        )

    async def _await_count(self, server: _Server) -> None:
        """Wait until a server that stood still has heard a replica, or has counted them anew.

        Whoever went back to it before that would be refused in a moment, and go back once more.
        """
        until = self._clock.monotonic() + COUNTED
        while counts_unheard(info := await server.request(*INFO)):
            if self._clock.monotonic() >= until:
                break
            await asyncio.sleep(COUNT_EVERY)
        if (fault := role_fault(info, guarded=False)) is not None:
            raise LinkDownError(f"{server.target} is not the primary: {fault}")

    async def _ask_nodes(self, server: _Server) -> Any:
        """An address is one node, and who replaces it closes its connections."""
        target = server.target
        if self._judge_node is None or isinstance(target, str) or not is_name(target.host):
            return None
        return await server.offered("CLUSTER", "NODES")

    async def _ask_layout(self, server: _Server) -> Any:
        try:
            return await server.request("GET", self._layout_key)
        except RedirectError:
            # In a cluster its slot may be on its way; that is no reason to do without all others.
            if self._by_slot:
                return LAYOUT
            raise

    def _check_layout(self, layout: Any) -> None:
        if layout not in (None, LAYOUT):
            raise LayoutError(
                f"the data under {self._layout_key.decode()} has layout {layout!r}, not {LAYOUT!r}",
                remedy="use another ARAGORA_KEY_PREFIX, or the version that wrote it; a lab "
                "begins anew without its directory: `aragora-redis down`, then `rm -r .lab`",
            )

    async def _claim_layout(self, server: _Server) -> None:
        # A primary without replicas refuses this write now; the next connection tries again.
        with contextlib.suppress(RefusedError):
            if await server.request("SET", self._layout_key, LAYOUT, "NX") is None:
                # Somebody was faster, perhaps one of another version.
                self._check_layout(await self._ask_layout(server))

    async def _ask_scripts(self, server: _Server) -> tuple[bool, tuple[bytes, int]]:
        """Whether a call may span slots, and what scripts are told and may say."""
        if not self._prepares:
            return not self._by_slot, (b"untold", 1)
        ask = server.demanded("EVALSHA", _OFFERS.sha, 0, self._layout_key)
        if self._by_slot:
            return False, _told(await ask)
        keys = [self._layout_key + b":{%d}" % number for number in range(2)]
        across, said = await asyncio.gather(server.takes_across(keys), ask)
        return across, _told(said)


class _Server:
    """Who is at the other end of a new connection.

    Args:
        patience: seconds for each answer.
    """

    def __init__(self, pipe: Pipe, target: Target, patience: float) -> None:
        self.target = target
        self._pipe = pipe
        self._patience = patience

    async def request(self, *command: Argument) -> Any:
        """The answer; raises as `Pipe.request`."""
        return await self._pipe.request(*command, timeout=self._patience)

    async def offered(self, *command: str) -> Any:
        """The answer, or None from a server that does not offer the command."""
        try:
            return await self.request(*command)
        except AragoraRedisError as error:
            if unoffered(error):
                return None
            raise

    async def demanded(self, *command: Argument) -> Any:
        """The answer of a command that nobody can do without."""
        try:
            return await self.request(*command)
        except AragoraRedisError as error:
            if not unoffered(error):
                raise
            what = str(command[0])
            raise LinkDownError(
                f"{self.target} does not offer {what}, which everything here needs: "
                f"{error.message}",
                remedy=f"grant this user {what}, or choose a service that offers it",
            ) from None

    async def load_scripts(self) -> None:
        """Load those that it lacks.

        All of them are 130 kB. After a failover every instance comes at once, on three connections:
        a thousand that send them all send 400 MB.
        """
        scripts = all_scripts()
        known = await self.offered("SCRIPT", "EXISTS", *(script.sha for script in scripts))
        if not isinstance(known, list) or len(known) != len(scripts):
            known = [0] * len(scripts)
        await asyncio.gather(
            *(
                self.demanded("SCRIPT", "LOAD", script.source)
                for script, there in zip(scripts, known, strict=True)
                if not there
            )
        )

    async def takes_across(self, keys: Sequence[bytes]) -> bool:
        """Whether a call may hold these keys, which are in two slots."""
        try:
            await self.request("EVALSHA", _OFFERS.sha, len(keys), *keys, keys[0])
        except (RefusedError, UnexpectedReplyError):  # CROSSSLOT, or MOVED
            return False
        return True

    async def subscribed(self, channels: Sequence[bytes]) -> bool:
        """Whether it lets us hear these."""
        if not channels:
            return True
        try:
            await self._pipe.subscribe(channels, timeout=self._patience)
        except (RefusedError, UnexpectedReplyError):
            return False
        return True

    async def fsyncs(self) -> bool:
        """Whether it tells what is on disk.

        Nothing was written on this connection, so who can answer answers at once.
        """
        try:
            return isinstance(await self.request("WAITAOF", 1, 0, 1), list)
        except AragoraRedisError as error:
            if unoffered(error) or isinstance(error, RefusedError | UnexpectedReplyError):
                return False  # also what has no append-only file
            raise


def _told(said: Any) -> tuple[bytes, int]:
    match said:
        case [bytes() as rid, int() as publishes]:
            return rid, publishes
        case _:
            raise UnexpectedReplyError("a script did not answer as it is written")


async def _none() -> None:
    return None


def read_time(time: Any) -> int:
    """A server's clock in Unix microseconds, from the reply to TIME.

    Raises:
        UnexpectedReplyError: it is not what this command answers.
    """
    try:
        seconds, micros = time
        return int(seconds) * 1_000_000 + int(micros)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnexpectedReplyError("TIME did not answer with a time") from error
