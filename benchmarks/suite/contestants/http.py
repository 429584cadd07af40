"""HTTP services on loopback, a process of uvicorn each, and a client that keeps connections."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from ..drive import Opening, Parameters, Run, by_callers
from ..sample import Sample
from ..target import KEYS, SUBJECTS, Target

PACKAGES = ("aragora-redis", "fastapi", "starlette", "uvicorn")
START = 20.0
"""Seconds within which a service listens."""
BARE = """
import sys
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

async def check(request):
    return JSONResponse({"allowed": True, "limit": 1000000, "remaining": 999999, "retry_after": 0})

app = Starlette(routes=[Route("/v1/limits/api/check", check, methods=["POST"])])
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)
"""
OK = b"200"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
TICKS = os.sysconf("SC_CLK_TCK")


class Answer(NamedTuple):
    """What a service answers."""

    status: bytes
    body: bytes


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def spent(pid: int) -> float:
    """Seconds of processor time of a process, and of those that it has started, so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    started = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (int(fields[11]) + int(fields[12])) / TICKS + sum(spent(int(each)) for each in started)


async def connect(port: int) -> Connection:
    """A connection, once the service listens."""
    async with asyncio.timeout(START):
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def service(*command: str, environ: dict[str, str]) -> AsyncIterator[int]:
    """The process id of a service while this lasts."""
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **environ}, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), START)
        except TimeoutError:
            process.kill()
            await process.wait()


def requests(port: int, token: str) -> list[bytes]:
    """One request for each subject."""
    made = []
    for subject in SUBJECTS:
        body = json.dumps({"subject": subject}).encode()
        head = (
            f"POST /v1/limits/api/check HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> Answer:
    """One request and its answer."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
    return Answer(head.split(b" ", 2)[1], await reader.readexactly(int(length)))


async def until_ready(connection: Connection, request: bytes) -> None:
    """Wait until the service does what it is asked, and not just listens."""
    async with asyncio.timeout(START):
        while (await ask(*connection, request)).status != OK:
            await asyncio.sleep(0.05)


@asynccontextmanager
async def asked(port: int, pid: int, token: str, callers: int) -> Opening:
    """Keep a service busy; the processor time is the service's."""
    free, made = asyncio.LifoQueue[Connection](), requests(port, token)

    async def one(number: int) -> None:
        connection = free.get_nowait()
        try:
            answer = await ask(*connection, made[number % KEYS])
        finally:
            free.put_nowait(connection)
        if answer.status != OK:
            raise RuntimeError(f"{answer.status.decode()} {answer.body.decode()}")

    work: Run = by_callers(one, callers)

    async def run(seconds: float) -> Sample:
        # Those of the last round may have been idle for too long.
        opened = [await connect(port) for _ in range(callers)]
        for connection in opened:
            free.put_nowait(connection)
        before = spent(pid)
        try:
            sample = await work(seconds)
        finally:
            for _, writer in (free.get_nowait() for _ in range(free.qsize())):
                writer.close()
        sample.cpu = spent(pid) - before
        return sample

    first = await connect(port)
    try:
        await until_ready(first, made[0])
    finally:
        first[1].close()
    yield run


@asynccontextmanager
async def gateway(target: Target, parameters: Parameters) -> Opening:
    """The gateway as `serve` runs it: a checked limit an answer."""
    port = free_port()
    workers = str(parameters.get("workers", 1))
    serve = (sys.executable, "-m", "aragora_redis", "serve")
    command = (*serve, "--port", str(port), "--workers", workers)
    environ = {**target.env, "ARAGORA_LOG_LEVEL": "error"}
    async with service(*command, environ=environ) as pid:
        token = target.env["ARAGORA_GATEWAY_TOKEN"]
        async with asked(port, pid, token, parameters["callers"]) as run:
            yield run


@asynccontextmanager
async def bare(_target: Target, parameters: Parameters) -> Opening:
    """A Starlette endpoint that answers a constant."""
    port = free_port()
    command = (sys.executable, "-c", BARE, str(port))
    async with (
        service(*command, environ={}) as pid,
        asked(port, pid, "none", parameters["callers"]) as run,
    ):
        yield run


TASKS = {"gateway": gateway, "bare": bare}
