"""The client processes of a drill: start them, tell them what to do, kill them, hear them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aragora_redis.lab import Lab

from .history import Recorder

ROOT = Path(__file__).parents[2]
READY_SECONDS = 60.0
ANSWER_SECONDS = 60.0


class Client:
    """One client process."""

    def __init__(self, name: str, number: int, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.number = number
        self._process = process
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue(64)
        self.news: asyncio.Queue[dict[str, Any]] = asyncio.Queue(4096)
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            await (self.news if "session" in said else self._answers).put(said)
        await self._answers.put({"ended": self._process.returncode})

    def tell(self, order: dict[str, Any]) -> None:
        """Send an order, without waiting for what comes of it."""
        assert self._process.stdin is not None
        if self._process.returncode is None:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")

    async def answer(self) -> dict[str, Any]:
        """What it says next."""
        async with asyncio.timeout(ANSWER_SECONDS):
            said = await self._answers.get()
        if "ended" in said:
            raise ChildProcessError(f"{self.name} has ended by itself: {said}")
        return said

    async def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Send an order, and wait until it is done."""
        self.tell(order)
        return await self.answer()

    def kill(self) -> None:
        """End it at once."""
        if self._process.returncode is None:
            self._process.kill()

    async def over(self) -> None:
        """Wait until it has ended."""
        await self._process.wait()
        await asyncio.gather(self._reading, return_exceptions=True)


class Fleet:
    """The living clients of a drill, and the files of all that ever lived."""

    def __init__(
        self,
        lab: Lab,
        directory: Path,
        recorder: Recorder,
        env: Mapping[str, str],
        *,
        seed: int,
        subject: str,
        breaks: Iterable[str],
    ) -> None:
        self._lab = lab
        self._directory = directory
        self._recorder = recorder
        self._seed = seed
        self.subject = subject
        self._breaks = tuple(breaks)
        self._extra = dict(env)
        self._count = 0
        self._relaying: dict[str, asyncio.Task[None]] = {}
        self.sessions: dict[str, str] = {}
        self.living: dict[str, Client] = {}

    @property
    def histories(self) -> list[Path]:
        """The files that clients have written."""
        return sorted(self._directory.glob("client-*.jsonl"))

    def host(self, client: Client) -> str:
        """The address that a client connects from."""
        return self._lab.client_host(client.number)

    async def spawn(self, number: int) -> Client:
        """Start a client in a place, and wait until it is ready."""
        name = f"c{self._count}"
        self._count += 1
        arguments = [
            self.subject,
            name,
            str(self._seed),
            self._lab.client_host(number),
            str(self._directory / f"client-{name}.jsonl"),
            *self._breaks,
        ]
        with (self._directory / f"client-{name}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.drills.client",
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=os.environ | self._lab.env() | self._extra,
                cwd=ROOT,
                limit=2**20,
            )
        client = Client(name, number, process)
        self.living[name] = client
        self._relaying[name] = asyncio.create_task(self._relay(client))
        async with asyncio.timeout(READY_SECONDS):
            await client.answer()
        for label, session_id in self.sessions.items():
            client.tell({"do": "learn", "session": label, "id": session_id})
        for other in self.living.values():
            other.tell({"do": "learn", "client": name})
            client.tell({"do": "learn", "client": other.name})
        return client

    async def kill(self, client: Client) -> None:
        """End a client at once, in the middle of whatever it does."""
        client.kill()
        self._recorder.write_ended(client.name)
        self._forget(client)
        await client.over()

    async def stop(self, client: Client) -> None:
        """End a client in order."""
        await client.ask({"do": "stop"})
        self._recorder.write_ended(client.name)
        self._forget(client)
        await client.over()

    async def all(self, order: dict[str, Any]) -> list[dict[str, Any]]:
        """Have all living clients do something."""
        return await asyncio.gather(*(client.ask(dict(order)) for client in self.living.values()))

    async def until_well(self, within: float) -> bool:
        """Wait until every client can serve."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            answers = await self.all({"do": "well?"})
            if all(answer["well"] for answer in answers):
                return True
            await asyncio.sleep(0.05)
        return False

    async def until_counted(self) -> None:
        """Wait until every client has counted all: whom a beat has not told of, shares nothing."""
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            answers = await self.all({"do": "well?"})
            if all(answer["counts"] >= len(self.living) for answer in answers):
                return
            await asyncio.sleep(0.05)
        raise TimeoutError("the clients do not count each other")

    async def close(self) -> None:
        """End all at once."""
        for client in list(self.living.values()):
            await self.kill(client)

    def _forget(self, client: Client) -> None:
        del self.living[client.name]
        self._relaying.pop(client.name).cancel()

    async def _relay(self, client: Client) -> None:
        while True:
            news = await client.news.get()
            self.sessions[news["session"]] = news["id"]
            for other in self.living.values():
                other.tell({"do": "learn"} | news)
