"""One server process: start it, find it again, signal it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..address import Address
from ..errors import LabError
from .config import HOST
from .process import State, state_of
from .server import Server
from .waiting import wait_until

# The shell leaves at once, so the server belongs to nobody's terminal and to no parent, and its id
# is on disk before anything else can fail. The umask covers the files that the server rewrites.
# A limit on file sizes, which stands for a full disk, is to fail a write and not to end the server.
_LAUNCH = 'umask 077; trap "" XFSZ; "$@" </dev/null >>"$LAB_LOG" 2>&1 & echo $! >"$LAB_PID"'
_PROVIDER = "from aragora_redis.lab.provider.run import main; main()"
_ASKS = 10
_GRACE = 0.5
_SIGNAL_SECONDS = 5.0


class Kind(StrEnum):
    """What a node's process is; also the first part of its name."""

    REDIS = "redis"
    SENTINEL = "sentinel"
    PROVIDER = "provider"
    """Who runs a managed service."""


@dataclass(frozen=True, slots=True)
class Node:
    """One server of a lab, running or not."""

    name: str
    kind: Kind
    address: Address
    """Where it is for the other nodes and for clients."""
    directory: Path
    bus_port: int | None = None
    """Where the other nodes of its cluster reach it; None outside of a cluster."""
    inner_host: str = HOST
    """Where the lab itself reaches it, whatever is cut."""

    @property
    def ports(self) -> tuple[int, ...]:
        """All that it listens on."""
        if self.kind is Kind.PROVIDER:
            return ()
        return (self.port,) if self.bus_port is None else (self.port, self.bus_port)

    @property
    def port(self) -> int:
        """Its port, at `address` and at `inner_host`."""
        return self.address.port

    @property
    def config_path(self) -> Path:
        """Its configuration, which the server itself rewrites."""
        return self.directory / f"{self.kind}.conf"

    @property
    def log_path(self) -> Path:
        """What the server said, over all of its runs."""
        return self.directory / f"{self.kind}.log"

    @property
    def pid_path(self) -> Path:
        """The id of the last process that was started."""
        return self.directory / f"{self.kind}.pid"

    @property
    def pid(self) -> int | None:
        """The id of its process while that lives."""
        pid = self._last_pid()
        return pid if pid and state_of(pid, self.config_path) is not State.DEAD else None

    @property
    def state(self) -> State:
        """Whether its process lives now."""
        pid = self._last_pid()
        return state_of(pid, self.config_path) if pid else State.DEAD

    def launch(self, server: Server) -> None:
        """Start the process in a session of its own; it may not accept connections yet.

        Raises:
            LabError: it could not be started.
        """
        try:
            subprocess.run(  # noqa: S603 - the server that was found, on a file that we wrote
                ["/bin/sh", "-c", _LAUNCH, "sh", *self._command(server)],
                env=os.environ
                | {"LAB_LOG": str(self.log_path), "LAB_PID": str(self.pid_path), "LC_ALL": "C"},
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                timeout=10,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise LabError(
                f"{self.name} could not be started", remedy=f"see whether {server.path} runs"
            ) from error

    def _command(self, server: Server) -> list[str]:
        if self.kind is Kind.PROVIDER:
            return [sys.executable, "-P", "-c", _PROVIDER, str(self.config_path)]
        command = [str(server.path), str(self.config_path)]
        return [*command, "--sentinel"] if self.kind is Kind.SENTINEL else command

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._signal(signal.SIGKILL, State.DEAD)

    def freeze(self) -> None:
        """SIGSTOP, and wait until it stands still."""
        self._signal(signal.SIGSTOP, State.FROZEN)

    def thaw(self) -> None:
        """SIGCONT, and wait until it moves."""
        self._signal(signal.SIGCONT, State.RUNNING)

    def wipe(self) -> None:
        """Delete its data (append-only file and snapshot). The process must be dead.

        A node of a cluster keeps its name, its slots and its place.
        """
        shutil.rmtree(self.directory / "appendonlydir", ignore_errors=True)
        # Redis 6.2 keeps the append-only file beside the snapshot.
        for name in ("appendonly.aof", "dump.rdb"):
            (self.directory / name).unlink(missing_ok=True)

    def log_tail(self, lines: int = 8) -> str:
        """The last lines of its log."""
        try:
            text = self.log_path.read_text("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def ask_to_end(self) -> None:
        """SIGTERM, which a frozen process takes once it is thawed; nothing where it is dead."""
        for number in (signal.SIGTERM, signal.SIGCONT):
            self._send(number)

    def _signal(self, number: signal.Signals, wanted: State) -> None:
        self._send(number)
        left = wait_until(
            lambda: "" if (state := self.state) in (wanted, State.DEAD) else state,
            seconds=_SIGNAL_SECONDS,
        )
        if left:
            raise LabError(
                f"{self.name} is still {left} after {number.name}", remedy=f"see {self.log_path}"
            )

    def _send(self, number: signal.Signals) -> None:
        # The id is looked up right before, so that a recycled one is never signalled.
        pid = self.pid
        if pid is not None:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return

    def _last_pid(self) -> int | None:
        try:
            return int(self.pid_path.read_text("ascii"))
        except (OSError, ValueError):
            return None


def end_all(nodes: Iterable[Node]) -> tuple[str, ...]:
    """SIGTERM to all, SIGKILL to those that stay; clears their pid files.

    Who would answer the end of a primary with a failover ends first.

    Returns:
        The names of those that were alive.
    """
    nodes = tuple(nodes)
    judges = [node for node in nodes if node.kind is not Kind.REDIS]
    return _end(judges) + _end([node for node in nodes if node.kind is Kind.REDIS])


def _end(nodes: Sequence[Node]) -> tuple[str, ...]:
    # A guard may still be at it when the next run begins: it ends these processes and no others.
    alive = {node: pid for node in nodes if (pid := node.pid) is not None}

    def left() -> list[Node]:
        return [node for node, pid in alive.items() if node.pid == pid]

    # A server that is writing its first append-only file refuses to end, and is asked again.
    for _ in range(_ASKS):
        for node in left():
            node.ask_to_end()
        wait_until(lambda: " ".join(node.name for node in left()), seconds=_GRACE)
    for node in left():
        node.kill()
    for node in nodes:
        if node.pid is None:
            node.pid_path.unlink(missing_ok=True)
    return tuple(node.name for node in alive)
