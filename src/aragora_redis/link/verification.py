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
from ..topology.statement import read_guarded, role_fault
from .connection import Target
from .pipe import Pipe
from .replies import RedirectError, unoffered

LIMIT = 1.0
"""Seconds for each step."""
LAYOUT = b"2"
"""Version of the data's layout under the key prefix."""
MAINTENANCE = ("CLIENT", "MAINT_NOTIFICATIONS", "ON", "moving-endpoint-type", "none")
"""Have work on the servers announced; an endpoint that moves is looked up by its name."""
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
    ) -> Verified:
        """Verify, and prepare.

        Args:
            pipe: a new connection.
            target: where it leads.
            has_layout: whether this server is the one that holds the layout's version.
            channels: what to subscribe to; None also hears nothing that the service announces.

        Raises:
            LinkDownError: it is no primary, or does not offer what nobody can do without.
            LayoutError: its data are of another version.
        """
        nodes, role, info, time, layout, *_ = await asyncio.gather(
            self._ask_nodes(pipe, target),
            _offered(pipe, *ROLE),
            _offered(pipe, *INFO),
            _demanded(pipe, target, "TIME"),
            self._ask_layout(pipe) if has_layout else _none(),
            _offered(pipe, *MAINTENANCE) if channels is not None else _none(),
            _load_scripts(pipe, target) if self._prepares else _none(),
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
            await self._claim_layout(pipe)
        across_slots, (rid, publishes) = await self._ask_scripts(pipe, target)
        return Verified(
            ServerTime(answered, read_time(time)),
            guarded=info is not None and read_guarded(info),
            offers=Offers(
                question=question_of(role=role is not None, info=info is not None),
                across_slots=across_slots,
                replication_id=rid != b"",
                publishes=publishes == 1,
                subscribes=await _subscribed(pipe, channels or ()),
                fsyncs=await _fsyncs(pipe),
            ),
        )

    async def _ask_nodes(self, pipe: Pipe, target: Target) -> Any:
        """An address is one node, and who replaces it closes its connections."""
        if self._judge_node is None or isinstance(target, str) or not is_name(target.host):
            return None
        return await _offered(pipe, "CLUSTER", "NODES")

    async def _ask_layout(self, pipe: Pipe) -> Any:
        try:
            return await pipe.request("GET", self._layout_key, timeout=LIMIT)
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

    async def _claim_layout(self, pipe: Pipe) -> None:
        # A primary without replicas refuses this write now; the next connection tries again.
        with contextlib.suppress(RefusedError):
            await pipe.request("SET", self._layout_key, LAYOUT, "NX", timeout=LIMIT)

    async def _ask_scripts(self, pipe: Pipe, target: Target) -> tuple[bool, tuple[bytes, int]]:
        """Whether a call may span slots, and what scripts are told and may say."""
        if not self._prepares:
            return not self._by_slot, (b"untold", 1)
        ask = _demanded(pipe, target, "EVALSHA", _OFFERS.sha, 0, self._layout_key)
        if self._by_slot:
            return False, _told(await ask)
        keys = [self._layout_key + b":{%d}" % number for number in range(2)]
        across, said = await asyncio.gather(_across(pipe, keys), ask)
        return across, _told(said)


async def _load_scripts(pipe: Pipe, target: Target) -> None:
    """Load those that the server lacks.

    All of them are 130 kB. After a failover every instance comes at once, on three connections: a
    thousand that send them all send 400 MB.
    """
    scripts = all_scripts()
    known = await _offered(pipe, "SCRIPT", "EXISTS", *(script.sha for script in scripts))
    if not isinstance(known, list) or len(known) != len(scripts):
        known = [0] * len(scripts)
    await asyncio.gather(
        *(
            _demanded(pipe, target, "SCRIPT", "LOAD", script.source)
            for script, there in zip(scripts, known, strict=True)
            if not there
        )
    )


def _told(said: Any) -> tuple[bytes, int]:
    match said:
        case [bytes() as rid, int() as publishes]:
            return rid, publishes
        case _:
            raise UnexpectedReplyError("a script did not answer as it is written")


async def _across(pipe: Pipe, keys: Sequence[bytes]) -> bool:
    try:
        await pipe.request("EVALSHA", _OFFERS.sha, len(keys), *keys, keys[0], timeout=LIMIT)
    except (RefusedError, UnexpectedReplyError):  # CROSSSLOT, or MOVED
        return False
    return True


async def _subscribed(pipe: Pipe, channels: Sequence[bytes]) -> bool:
    if not channels:
        return True
    try:
        await pipe.subscribe(channels, timeout=LIMIT)
    except (RefusedError, UnexpectedReplyError):
        return False
    return True


async def _fsyncs(pipe: Pipe) -> bool:
    """Nothing was written on this connection, so who can answer answers at once."""
    try:
        return isinstance(await pipe.request("WAITAOF", 1, 0, 1, timeout=LIMIT), list)
    except AragoraRedisError as error:
        if unoffered(error) or isinstance(error, RefusedError | UnexpectedReplyError):
            return False  # also what has no append-only file
        raise


async def _offered(pipe: Pipe, *command: str) -> Any:
    """The answer, or None from a server that does not offer the command."""
    try:
        return await pipe.request(*command, timeout=LIMIT)
    except AragoraRedisError as error:
        if unoffered(error):
            return None
        raise


async def _demanded(pipe: Pipe, target: Target, *command: Argument) -> Any:
    """The answer of a command that nobody can do without."""
    try:
        return await pipe.request(*command, timeout=LIMIT)
    except AragoraRedisError as error:
        if not unoffered(error):
            raise
        what = str(command[0])
        raise LinkDownError(
            f"{target} does not offer {what}, which everything here needs: {error.message}",
            remedy=f"grant this user {what}, or choose a service that offers it",
        ) from None


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
