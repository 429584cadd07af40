"""One of several workers: what it is told, and how it keeps in touch with who has started it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from msgspec.structs import replace

from ..settings import Settings

BEAT = 1.0
"""Seconds from one sign of life to the next."""


@dataclass(frozen=True, slots=True)
class Worker:
    """Which one it is.

    Attributes:
        number: its own, from 0.
        ports: on which each of the workers, by number, answers for itself on loopback.
        key: signs logins where no token is set, so that one worker knows those of another.
        replaces: whether there was one before it, and others serve meanwhile.
    """

    number: int
    ports: tuple[int, ...]
    key: bytes = field(repr=False)
    replaces: bool = False

    def settings(self, of_all: Settings) -> Settings:
        """The settings of this one: an instance of its own, by its name too."""
        if of_all.instance_id is None:
            return of_all
        return replace(of_all, instance_id=f"{of_all.instance_id}:{self.number}")


def keep_in_touch(supervisor: Connection) -> None:
    """Show the supervisor that the loop goes round, and end in order once there is none."""
    loop = asyncio.get_running_loop()
    pipe = supervisor.fileno()
    os.set_blocking(pipe, False)  # one that is stopped reads nothing, and is not waited for

    def beat() -> None:
        with contextlib.suppress(OSError):
            os.write(pipe, b".")
        loop.call_later(BEAT, beat)

    def end() -> None:
        loop.remove_reader(pipe)
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(pipe, end)  # it never writes: this is its end
    beat()
