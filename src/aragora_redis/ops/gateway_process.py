"""One gateway as a child process: start it, ask whether it is ready, end it."""

from __future__ import annotations

import http.client
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ..address import Address
from ..clock import SYSTEM_CLOCK
from ..errors import LabError
from . import pid_file

GRACE = 6.0
"""Seconds that a gateway has to end after it was asked to: it answers what it has begun first."""

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def pid_paths(directory: Path) -> tuple[Path, ...]:
    """The files that the gateways of a directory hold, or held."""
    return tuple(sorted(directory.glob("gateway-*.pid")))


def down_recipe(directory: Path) -> str:
    """What to type to end what an `up` has left in a directory."""
    return f"aragora-redis down --lab {shlex.quote(str(directory))}"


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    """A gateway that this process has started."""

    address: Address
    log_path: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def launch(
        cls, directory: Path, address: Address, environment: Mapping[str, str], *, has_lab: bool
    ) -> Self:
        """Start one. It ends with this process, however that ends, and its log begins anew.

        Args:
            directory: where its log is kept.
            address: where it listens.
            environment: its settings.
            has_lab: whether the directory is a lab, on which its dashboard may act.

        Raises:
            LabError: an earlier one still lives.
        """
        pid_path = directory / f"gateway-{address.port}.pid"
        log_path = pid_path.with_suffix(".log")
        held = pid_file.claim(pid_path)
        if held is None:
            raise LabError(
                f"a gateway of an earlier `up` still runs on port {address.port}",
                remedy=f"end it with: {down_recipe(directory)}",
            )
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            # Nobody writes to its standard input, which ends when this process does.
            process = subprocess.Popen(  # noqa: S603 - this Python, on our own module
                [
                    *(sys.executable, "-P", "-m", "aragora_redis", "serve", "--end-with-stdin"),
                    *("--host", address.host, "--port", str(address.port)),
                    *(("--lab", str(directory)) if has_lab else ()),
                ],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(held,),
                # The terminal's Ctrl-C is for its parent, which ends it in order.
                start_new_session=True,
            )
            pid_file.sign(held, process.pid)
        finally:
            os.close(log)
            os.close(held)
        return cls(address, log_path, process)

    @property
    def url(self) -> str:
        """Where to reach it from this machine."""
        host, port = self.address
        return f"http://{Address(_ANYWHERE.get(host, host), port)}"

    @property
    def alive(self) -> bool:
        """Whether its process lives."""
        return self.process.poll() is None

    def ready(self) -> bool:
        """Whether it answers, and can judge tokens."""
        host, port = self.address
        connection = http.client.HTTPConnection(_ANYWHERE.get(host, host), port, timeout=1.0)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def log_tail(self, lines: int = 8) -> str:
        """The last lines of its log."""
        try:
            text = self.log_path.read_text("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


def end_gateways(gateways: Sequence[GatewayProcess], *, grace: float = GRACE) -> None:
    """SIGTERM to all, SIGKILL to those that still live after `grace` seconds."""
    for number in (signal.SIGTERM, signal.SIGCONT):
        _send(gateways, number)
    until = SYSTEM_CLOCK.monotonic() + grace
    for gateway in gateways:
        try:
            gateway.process.wait(max(0.0, until - SYSTEM_CLOCK.monotonic()))
        except subprocess.TimeoutExpired:
            gateway.process.kill()
            gateway.process.wait()
        if gateway.process.stdin is not None:
            gateway.process.stdin.close()


def _send(gateways: Iterable[GatewayProcess], number: signal.Signals) -> None:
    for gateway in gateways:
        gateway.process.send_signal(number)
