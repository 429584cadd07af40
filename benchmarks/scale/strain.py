"""What a span of time cost the server, and whoever else had asked it something meanwhile."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ..suite.drive import clock
from ..suite.servers import BenchServer
from .child import child

SAMPLE_EVERY = 0.1
SLOW_US = 500
AHEAD = -10
"""Niceness of the server and of whoever pings it: elsewhere each has a processor of its own."""


@dataclass(slots=True)
class Strain:
    """One span.

    Attributes:
        seconds: that it lasted.
        cpu: seconds of the server's processor time.
        received: bytes that the server has read,
        sent: and written.
        commands: that it ran.
        connections: that it accepted.
        refused: that it refused, because there were too many.
        slowest: seconds of the longest single command, or 0 where none took half a millisecond.
        slowest_command: which that was.
        memory: bytes in use at most.
        output: bytes that waited to be read by one client, at most.
        busiest: the largest share of a processor within a tenth of a second.
        pings: seconds that a foreign client's PING took: median, 99th percentile, most.
    """

    seconds: float = 0.0
    cpu: float = 0.0
    received: int = 0
    sent: int = 0
    commands: int = 0
    connections: int = 0
    refused: int = 0
    slowest: float = 0.0
    slowest_command: str = ""
    memory: int = 0
    output: int = 0
    busiest: float = 0.0
    pings: tuple[float, float, float] = (0.0, 0.0, 0.0)
    by_command: dict[str, tuple[int, float]] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Of one processor."""
        return self.cpu / self.seconds


@asynccontextmanager
async def strained(server: BenchServer) -> AsyncIterator[Strain]:
    """Measure while this lasts; the value is complete afterwards."""
    found = Strain()
    client = server.client
    _go_ahead(int(client.info("server")["process_id"]))
    client.config_set("slowlog-log-slower-than", SLOW_US)
    client.config_set("slowlog-max-len", 4096)
    client.slowlog_reset()
    client.config_resetstat()
    over = threading.Event()
    async with child(
        "pinger", server.target.port, env={"PASSWORD": server.target.password}
    ) as ping:
        await ping.ask("begin")
        before, began = server.cpu(), clock()
        sampling = asyncio.create_task(asyncio.to_thread(_sample, server, found, over))
        try:
            yield found
        finally:
            over.set()
            await sampling
        found.seconds, found.cpu = clock() - began, server.cpu() - before
        told = await ping.ask("end")
        found.pings = (told["median"], told["p99"], told["most"])
    _take_stats(client.info("stats"), found)
    for each in client.slowlog_get(4096):
        if each["duration"] / 1e6 > found.slowest:
            found.slowest = each["duration"] / 1e6
            found.slowest_command = each["command"][:40].decode(errors="replace")
    for name, stats in client.info("commandstats").items():
        found.by_command[name[8:]] = (stats["calls"], stats["usec"] / 1e6)


def _go_ahead(pid: int) -> None:
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, AHEAD)


def _take_stats(stats: dict[str, Any], found: Strain) -> None:
    found.received = int(stats["total_net_input_bytes"])
    found.sent = int(stats["total_net_output_bytes"])
    found.commands = int(stats["total_commands_processed"])
    found.connections = int(stats["total_connections_received"])
    found.refused = int(stats["rejected_connections"])


def _sample(server: BenchServer, found: Strain, over: threading.Event) -> None:
    cpu, at = server.cpu(), clock()
    while not over.wait(SAMPLE_EVERY):
        told = server.client.info("cpu", "memory", "clients")
        found.memory = max(found.memory, told["used_memory"])
        found.output = max(found.output, told["client_recent_max_output_buffer"])
        spent, now = float(told["used_cpu_sys"]) + float(told["used_cpu_user"]), clock()
        if now > at:
            found.busiest = max(found.busiest, (spent - cpu) / (now - at))
        cpu, at = spent, now
