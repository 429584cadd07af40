"""Clients that mean harm, over real sockets, and a good one beside them in another process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

GATEWAY, ADMIN = "gateway-token-0001", "admin-token-000001"
GOOD = """
import json, select, socket, sys, time
port, token = int(sys.argv[1]), sys.argv[2]
body = b'{"subject": "ip:203.0.113.9"}'
asked = (b"POST /v1/limits/api/check HTTP/1.1\\r\\nHost: localhost\\r\\n"
    b"Authorization: Bearer %b\\r\\nContent-Type: application/json\\r\\n"
    b"Content-Length: %d\\r\\n\\r\\n"
    % (token.encode(), len(body))) + body
taken, failed, n, link = [], 0, 0, None
while not select.select([sys.stdin], [], [], 0.01)[0]:
    begun = time.monotonic()
    try:
        if n % 10 == 0:  # a new connection now and then, as others open them
            link = socket.create_connection(("127.0.0.1", port), timeout=5)
        link.sendall(asked)
        answer = link.recv(65536)
        failed += not answer.startswith(b"HTTP/1.1 200 ")
        n += 1
    except OSError:
        failed, n = failed + 1, 0
    taken.append(time.monotonic() - begun)
print(json.dumps([taken, failed]))
"""


@dataclass
class Served:
    """What the well-behaved client saw: milliseconds of its requests, and how many failed."""

    median: float = 0.0
    p99: float = 0.0
    worst: float = 0.0
    requests: int = 0
    failed: int = 0


@contextmanager
def beside(port: int) -> Iterator[Served]:
    """A client that asks all the time; what it saw is filled in at the end."""
    process = subprocess.Popen(
        [sys.executable, "-IS", "-c", GOOD, str(port), GATEWAY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    served = Served()
    try:
        yield served
    finally:
        out, _ = process.communicate(timeout=20)
    taken, served.failed = json.loads(out)
    taken = sorted(1000 * each for each in taken)
    served.requests = len(taken)
    served.median, served.worst = statistics.median(taken), taken[-1]
    served.p99 = taken[int(len(taken) * 0.99)]


class Gateway:
    """`aragora-redis serve` as a process, without a Redis."""

    def __init__(self, port: int, log: Path, **env: str) -> None:
        self.port = port
        self.log = log
        policies = log.with_suffix(".toml")
        policies.write_text('[limits.api]\nrate = "1000000/second"\n')
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "aragora_redis", "serve", "--port", str(port), "--json"],
                env={
                    "PATH": os.environ["PATH"],
                    "ARAGORA_GATEWAY_TOKEN": GATEWAY,
                    "ARAGORA_ADMIN_TOKEN": ADMIN,
                    "ARAGORA_POLICIES": str(policies),
                }
                | env,
                stdout=subprocess.PIPE,
                stderr=file,
            )
        assert self.process.stdout is not None
        assert b"listening" in self.process.stdout.readline(), log.read_text()

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def memory(self) -> float:
        """MiB that it holds now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    @property
    def files(self) -> int:
        """How many it has open."""
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    def ask(self, said: bytes, *, within: float = 5.0) -> bytes:
        """What is answered to some bytes, to the end of the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=within) as link:
            link.sendall(said)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while part := link.recv(65536):
                    answer += part
            return answer

    def turned_away(self) -> dict[str, int]:
        """What it has counted."""
        text = self.ask(b"GET /metrics" + HEAD + b"Connection: close\r\n\r\n").decode()
        found = re.findall(r'clients_turned_away_total\{reason="([\w-]+)"\} (\S+)', text)
        return {reason: int(float(count)) for reason, count in found}


Link = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Attack = Callable[[int, int], AsyncIterator[None]]


async def connect(port: int) -> Link:
    """A connection; more than the machine takes at once wait their turn."""
    return await asyncio.open_connection("127.0.0.1", port)


@asynccontextmanager
async def _each(
    count: int, port: int, act: Callable[[Link], Awaitable[None]]
) -> AsyncIterator[None]:
    """So many clients that act so, again whenever their connection ends."""

    async def once() -> None:
        link = await connect(port)
        try:
            await act(link)
        finally:
            link[1].transport.abort()

    async def go_on() -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await once()
            await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(go_on()) for _ in range(count)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # what is aborted is closed by the loop's next turn


async def _drip(link: Link, said: bytes, rest: bytes = b"x") -> None:
    reader, writer = link
    writer.write(said)
    answer = b""
    while not answer and not reader.at_eof():
        writer.write(rest)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                answer = await reader.read(65536)


async def _flood(link: Link, said: bytes, rest: bytes) -> None:
    """As much as it takes, and nothing is read."""
    _, writer = link
    writer.write(said)
    while not writer.is_closing():
        writer.write(rest)
        await writer.drain()
        await asyncio.sleep(0)


HEAD = b" HTTP/1.1\r\nHost: localhost\r\n"
LOGIN = b"POST /dashboard/login" + HEAD


async def _silent(link: Link) -> None:
    await link[0].read()


async def _slow_head(link: Link) -> None:
    await _drip(link, b"GET /healthz" + HEAD + b"X: ")


async def _slow_body(link: Link) -> None:
    await _drip(link, LOGIN + b"Content-Length: 60000\r\n\r\n")


async def _huge_head(link: Link) -> None:
    await _flood(link, b"GET /healthz" + HEAD + b"X: ", b"x" * 65536)


async def _many_fields(link: Link) -> None:
    await _flood(link, b"GET /healthz" + HEAD, b"a:\r\n" * 16384)


async def _huge_body(link: Link) -> None:
    await _flood(link, LOGIN + b"Content-Length: 1000000000000\r\n\r\n", b"x" * 65536)


async def _endless_body(link: Link) -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    await _flood(link, LOGIN + b"Transfer-Encoding: chunked\r\n\r\n", chunk)


async def _endless_trailer(link: Link) -> None:
    said = LOGIN + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: "
    await _flood(link, said, b"x" * 65536)


async def _pipelined(link: Link) -> None:
    await _flood(link, b"", (b"GET /healthz" + HEAD + b"\r\n") * 1000)


async def _unread(link: Link) -> None:
    """Asks for what is long, and takes nothing."""
    sock: socket.socket = link[1].get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link[0]._transport.pause_reading()  # type: ignore[attr-defined]  # so that nothing is taken
    _, writer = link
    while not writer.is_closing():
        writer.write(b"GET /openapi.json" + HEAD + b"\r\n")
        await asyncio.sleep(0.01)


async def _half_closed(link: Link) -> None:
    reader, writer = link
    writer.write(b"GET /healthz" + HEAD)
    writer.write_eof()
    await reader.read()


async def _upgrade(link: Link) -> None:
    reader, writer = link
    writer.write(b"GET /healthz" + HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    await reader.read()


async def _garbage(link: Link) -> None:
    reader, writer = link
    writer.write(os.urandom(512))
    await reader.read()


async def _wrong_login(link: Link) -> None:
    reader, writer = link
    body = b"token=" + os.urandom(8).hex().encode()
    writer.write(LOGIN + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await reader.read()


async def _wrong_token(link: Link) -> None:
    reader, writer = link
    token = os.urandom(16).hex().encode()
    writer.write(
        b"GET /v1/status" + HEAD + b"Authorization: Bearer %b\r\nConnection: close\r\n\r\n" % token
    )
    await reader.read()


ATTACKS: dict[str, Callable[[Link], Awaitable[None]]] = {
    each.__name__.removeprefix("_").replace("_", "-"): each
    for each in (
        _silent,
        _slow_head,
        _slow_body,
        _huge_head,
        _many_fields,
        _huge_body,
        _endless_body,
        _endless_trailer,
        _pipelined,
        _unread,
        _half_closed,
        _upgrade,
        _garbage,
        _wrong_login,
        _wrong_token,
    )
}


def attack(name: str, count: int, port: int) -> contextlib.AbstractAsyncContextManager[None]:
    """So many clients of a kind, for as long as this lasts."""
    return _each(count, port, ATTACKS[name])
