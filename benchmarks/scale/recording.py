"""What a real instance writes to Redis, written down, so that a thousand can write it.

A proxy stands between one instance and the server while it starts, lives, loses all connections and
follows a new history.
"""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis

from ..suite.servers import BenchServer
from .child import child

IDLE = 20.0
"""Seconds of its life: a multiple of all that it does regularly."""
SETTLED = 3.0
AFTERWARDS = 0.1
"""Seconds after it has followed the new history, in which it tells the others so."""

Command = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    """What was written at once: seconds after the connection's beginning, or the phase's."""

    at: float
    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """Of each connection. Those of `idle` are in the order of those of `start`.

    Attributes:
        start: from the first byte until it was ready.
        idle: of the next seconds.
        again: from the first byte of each new connection, after all were lost with a history.
    """

    start: tuple[tuple[Chunk, ...], ...]
    idle: tuple[tuple[Chunk, ...], ...]
    again: tuple[tuple[Chunk, ...], ...]

    def save(self, path: Path) -> None:
        """For another process of this run."""
        path.write_bytes(pickle.dumps(self))

    @classmethod
    def load(cls, path: Path) -> Recording:
        """What `save` has written."""
        loaded: Recording = pickle.loads(path.read_bytes())  # noqa: S301 - our own of this run
        return loaded


@dataclass(slots=True)
class _Heard:
    began: float
    chunks: list[tuple[float, bytes]] = field(default_factory=list)


class _Proxy:
    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.heard: list[_Heard] = []

    async def serve(self) -> int:
        """Listen; the port."""
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    def lose(self) -> None:
        """End all connections, and let none come about until `allow`."""
        self._open.clear()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def allow(self) -> None:
        self._open.set()

    async def _carry(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        await self._open.wait()
        far, out = await asyncio.open_connection("127.0.0.1", self._port)
        heard = _Heard(time.monotonic())
        self.heard.append(heard)
        self._writers += [back, out]
        answers = asyncio.create_task(_copy(far, back))
        self._tasks.add(answers)
        with suppress(OSError):
            while data := await near.read(1 << 20):
                heard.chunks.append((time.monotonic(), data))
                out.write(data)
        out.close()
        answers.cancel()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(1 << 20):
            target.write(data)


def new_history(client: redis.Redis) -> None:
    """Have the server's data begin another history, as after the promotion of a replica.

    Of a replica that nobody has talked to: it knows no script, and every instance comes anew.
    """
    client.replicaof("127.0.0.1", 1)
    client.replicaof("NO", "ONE")
    client.script_flush()
    ours = [each["id"] for each in client.client_list() if each["name"] == "aragora-redis"]
    with client.pipeline(transaction=False) as pipeline:
        for number in ours:
            pipeline.client_kill_filter(_id=number)
        pipeline.execute(raise_on_error=False)


async def record(server: BenchServer) -> Recording:
    """Run one instance, alone."""
    proxy = _Proxy(server.target.port)
    port = await proxy.serve()
    env = {**server.target.env, "ARAGORA_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
    async with child("instance", env=env) as instance:
        began = (await instance.ask("ready"))["at"]
        await asyncio.sleep(SETTLED)
        idle_from = time.monotonic()
        await asyncio.sleep(IDLE)
        eras = (await instance.ask("how"))["eras"]
        lost_at = time.monotonic()
        lanes = len(proxy.heard)
        proxy.lose()
        new_history(server.client)
        proxy.allow()
        until = (await instance.ask("reconciled", eras))["at"] + AFTERWARDS
        await asyncio.sleep(AFTERWARDS)
        first, later = proxy.heard[:lanes], [each for each in proxy.heard[lanes:] if each.chunks]
        start = tuple(_chunks(each, each.began, each.began, began) for each in first)
        idle = tuple(_chunks(each, idle_from, idle_from, lost_at) for each in first)
        again = tuple(_chunks(each, each.began, each.began, until) for each in later)
    return Recording(start, idle, again)


def _chunks(heard: _Heard, zero: float, since: float, until: float) -> tuple[Chunk, ...]:
    found, left = [], b""
    for at, data in heard.chunks:
        commands, left = parsed(left + data)
        if commands and since <= at <= until:
            found.append(Chunk(at - zero, commands))
    return tuple(found)


def parsed(data: bytes) -> tuple[tuple[Command, ...], bytes]:
    """The whole commands in some RESP, and what is left."""
    found, at = [], 0
    while at < len(data):
        command = _command(data, at)
        if command is None:
            break
        words, at = command
        found.append(words)
    return tuple(found), data[at:]


def _command(data: bytes, at: int) -> tuple[Command, int] | None:
    lines = _line(data, at)
    if lines is None:
        return None
    count, at = int(lines[0][1:]), lines[1]
    words = []
    for _ in range(count):
        lines = _line(data, at)
        if lines is None:
            return None
        size, at = int(lines[0][1:]), lines[1]
        if len(data) < at + size + 2:
            return None
        words.append(data[at : at + size])
        at += size + 2
    return tuple(words), at


def _line(data: bytes, at: int) -> tuple[bytes, int] | None:
    end = data.find(b"\r\n", at)
    return None if end < 0 else (data[at:end], end + 2)


def bytes_of(chunks: Iterable[Chunk]) -> int:
    """How much that is on the wire, about."""
    return sum(len(word) + 6 for chunk in chunks for command in chunk.commands for word in command)
