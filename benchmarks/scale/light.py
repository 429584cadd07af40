"""Many instances in one process: each has the connections of a real one, and writes what it wrote.

    PASSWORD=... python -m benchmarks.scale.light PORT COUNT RECORDING

What is real: connections, commands, their number, size, timing and order (each is sent when those
before it were answered), subscriptions, beats that tell the list's version that was learned. What
is not: nobody decides anything, and nobody tries again but where the server has refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import secrets
import sys
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, cast

import hiredis

from aragora_redis.link.herd import patience, pause, spread
from aragora_redis.link.pipe import pack
from aragora_redis.scripts.catalog import load

from .child import answering
from .recording import Chunk, Command, Recording

BEAT = load("beat").sha.encode()
NEVER_LATE = b"9000000000000000"
PACE = 0.004
"""Seconds between two that start where nobody hurries."""
STEP_LIMIT = 10.0
"""Seconds that answers may take: longer than an instance waits, since so many share a processor."""


@lru_cache
def _sha(source: bytes) -> bytes:
    return hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()


@lru_cache
def _packed(command: Command) -> bytes:
    return pack(command)


class Link(asyncio.Protocol):
    """One connection."""

    def __init__(self, instance: Light) -> None:
        self._instance = instance
        self._reader = hiredis.Reader(notEnoughData=Ellipsis)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[Callable[[Any], None] | None] = deque()
        self._there: dict[bytes, int] = {}
        self._answered = asyncio.Event()
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost.set()
        self._answered.set()

    def data_received(self, data: bytes) -> None:
        fleet = self._instance.fleet
        fleet.received += len(data)
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not Ellipsis:
            if isinstance(reply, hiredis.PushNotification):
                if reply[0] == b"message":
                    fleet.hear(reply[1], reply[2])
                continue
            if isinstance(reply, hiredis.ReplyError):
                fleet.errors[str(reply)[:60]] = fleet.errors.get(str(reply)[:60], 0) + 1
            if self._waiting and (take := self._waiting.popleft()) is not None:
                take(reply)
        if not self._waiting:
            self._answered.set()

    def write(self, commands: tuple[Command, ...]) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        out = []
        for command in commands:
            take: Callable[[Any], None] | None = None
            if command[0] in {b"EVALSHA", b"HELLO"}:
                out.append(pack(self._instance.told(command)))
                if command[1] == BEAT:
                    take = self._instance.take_beat
            elif command[:2] == (b"SCRIPT", b"LOAD") and self._there.get(_sha(command[2])):
                continue
            else:
                out.append(_packed(command))
                if command[:2] == (b"SCRIPT", b"EXISTS"):
                    take = partial(self._take_scripts, command[2:])
            if command[0] != b"SUBSCRIBE":  # which is answered by pushes
                self._waiting.append(take)
        if self._waiting:
            self._answered.clear()
        if out:
            self._transport.write(b"".join(out))

    def _take_scripts(self, asked: Command, reply: Any) -> None:
        self._there = dict(zip(asked, reply, strict=True))

    async def answered(self) -> None:
        """Wait until nothing is outstanding."""
        await self._answered.wait()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Light:
    """One instance."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.boot_id = secrets.token_hex(8).encode()
        self._version = b""
        self.links: list[Link] = []

    def told(self, command: Command) -> Command:
        """A recorded command as this instance tells it."""
        if command[0] == b"HELLO":
            return (*command[:-1], self.fleet.password)
        if command[0] != b"EVALSHA" or len(command) < 4:
            return command
        words = [self.boot_id if word == self.fleet.recorded_id else word for word in command]
        argv = 3 + int(command[2])
        if argv < len(words) and words[argv].isdigit() and len(words[argv]) == len(NEVER_LATE):
            words[argv] = NEVER_LATE
        if command[1] == BEAT:
            # A row names its instance last, and its histories first: all are of one mind.
            row = words[argv + 2].split(b" ")
            words[argv + 2] = b" ".join([*row[:-1], self.boot_id])
            words[argv + 5] = self._version
        return tuple(words)

    def take_beat(self, reply: Any) -> None:
        """Learn the list's version, as `state/presence.py` does."""
        if isinstance(reply, list):
            self._version = reply[3]
            self.fleet.beats += 1
            self.fleet.instances = max(self.fleet.instances, reply[1])
            self.fleet.known = reply[1]

    async def play(self, connections: tuple[tuple[Chunk, ...], ...]) -> None:
        """Connect anew, and write what was recorded."""
        self.links = await asyncio.gather(*(self._play(chunks) for chunks in connections))

    async def _play(self, chunks: tuple[Chunk, ...]) -> Link:
        loop, attempt = asyncio.get_running_loop(), 0
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(patience(self.fleet.known)):
                    _, link = await loop.create_connection(
                        lambda: Link(self), "127.0.0.1", self.fleet.port
                    )
                for chunk in chunks:
                    early = began + chunk.at - time.monotonic()
                    if early > 0:
                        await asyncio.sleep(early)
                    link.write(chunk.commands)
                    async with asyncio.timeout(STEP_LIMIT):
                        await link.answered()
                if not link.lost.is_set():
                    return link
            except (OSError, TimeoutError):
                pass
            self.fleet.retries += 1
            await asyncio.sleep(pause(attempt, self.fleet.known))
            attempt += 1

    async def live(self, connections: tuple[tuple[Chunk, ...], ...], until: float) -> None:
        """Write what an idle one writes, from a random moment of it on."""
        length = max(chunk.at for chunks in connections for chunk in chunks) + 0.05
        phase = random.uniform(0, length)
        pairs = zip(self.links, connections, strict=False)
        await asyncio.gather(
            *(self._live(link, chunks, length, phase, until) for link, chunks in pairs)
        )

    async def _live(
        self, link: Link, chunks: tuple[Chunk, ...], length: float, phase: float, until: float
    ) -> None:
        first = time.monotonic()
        began = first - phase
        while chunks and not link.lost.is_set():
            for chunk in chunks:
                due = began + chunk.at
                if due < first:
                    continue
                now = time.monotonic()
                self.fleet.behind = max(self.fleet.behind, now - due)
                if due > until or now > until:
                    return
                await asyncio.sleep(max(due - now, 0))
                if link.lost.is_set():
                    return
                link.write(chunk.commands)
            began += length


class Fleet:
    """All that are in this process."""

    def __init__(self, port: int, count: int, recording: Recording) -> None:
        self.port = port
        self.password = os.environ["PASSWORD"].encode()
        self.recording = recording
        self.recorded_id = _boot_id(recording)
        self.all = [Light(self) for _ in range(count)]
        self.received = self.beats = self.retries = self.instances = 0
        self.known = 0
        """How many there are, by the last beat that was answered."""
        self.behind = 0.0
        self.heard: dict[str, tuple[int, float]] = {}
        self.errors: dict[str, int] = {}

    def hear(self, channel: bytes, message: bytes) -> None:
        """Count a message, and note when the last of all has it."""
        name = f"{channel.decode()} {message.split(b' ', 4)[3].decode()}"
        self.heard[name] = (self.heard.get(name, (0, 0.0))[0] + 1, time.monotonic())

    def _told(self) -> dict[str, Any]:
        told = {
            "received": self.received,
            "heard": self.heard,
            "beats": self.beats,
            "retries": self.retries,
            "instances": self.instances,
            "errors": self.errors,
            "behind": self.behind,
            "lost": sum(link.lost.is_set() for each in self.all for link in each.links),
            "cpu": time.process_time(),
        }
        self.received = self.beats = self.retries = self.instances = 0
        self.errors, self.heard, self.behind = {}, {}, 0.0
        return told

    async def start(self, count: str) -> dict[str, Any]:
        """Start so many of those that have not, one after another."""
        new = [each for each in self.all if not each.links][: int(count)]

        async def one(number: int, each: Light) -> None:
            await asyncio.sleep(number * PACE)
            await each.play(self.recording.start)

        await asyncio.gather(*(one(number, each) for number, each in enumerate(new)))
        return self._told()

    async def live(self, seconds: str) -> dict[str, Any]:
        """Live for so long."""
        until = time.monotonic() + float(seconds)
        await asyncio.gather(
            *(each.live(self.recording.idle, until) for each in self.all if each.links)
        )
        await asyncio.sleep(max(until - time.monotonic(), 0))
        return self._told()

    async def lose(self) -> dict[str, Any]:
        """Wait until all connections are lost, come back, and tell how long each took."""
        links = [link for each in self.all for link in each.links]
        await asyncio.gather(*(link.lost.wait() for link in links))
        began, took = time.monotonic(), list[float]()

        async def one(each: Light) -> None:
            await asyncio.sleep(random.uniform(0, spread(self.known)))
            await each.play(self.recording.again)
            took.append(time.monotonic() - began)

        await asyncio.gather(*(one(each) for each in self.all if each.links))
        return {**self._told(), "took": sorted(took)}


def _boot_id(recording: Recording) -> bytes:
    for chunks in recording.start:
        for chunk in chunks:
            for command in chunk.commands:
                if command[0] == b"EVALSHA" and command[1] == BEAT:
                    return command[3 + int(command[2]) + 1]
    raise ValueError("the recording has no beat")


async def _main() -> None:
    port, count, recording = sys.argv[1:]
    fleet = Fleet(int(port), int(count), Recording.load(Path(recording)))
    await answering({"start": fleet.start, "live": fleet.live, "lose": fleet.lose})


if __name__ == "__main__":
    asyncio.run(_main())
