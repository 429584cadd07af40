"""`aragora-redis up`: a lab and gateways that live and end with this process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from ..address import Address
from ..clock import SYSTEM_CLOCK
from ..errors import LabError, SettingsError
from ..lab import Lab, Mode
from ..lab.credentials import Credentials, load_credentials
from ..lab.files import make_private
from ..lab.node import Node
from ..lab.server import find_server
from ..policies import load_policies
from ..settings import Settings, from_env, names
from . import pid_file
from .changes import Change, Picture, changes
from .gateway_process import GatewayProcess, down_recipe, end_gateways
from .reserve import reserve
from .running_up import lock_path, note_policies
from .surroundings import Surroundings, surroundings

READY_SECONDS = 60.0
_LOOK = 0.25
_PICTURE = 1.0


class UpMode(StrEnum):
    """Where the state is kept."""

    SENTINEL = "sentinel"
    CLUSTER = "cluster"
    MANAGED = "managed"
    STANDALONE = "standalone"
    EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for."""

    directory: Path
    mode: UpMode | None = None
    """None is that of the lab in the directory, else `sentinel`."""
    host: str = "127.0.0.1"
    ports: tuple[int, ...] = (8080,)
    """One for each gateway."""


@dataclass(frozen=True, slots=True)
class UpReport:
    """What runs."""

    directory: Path
    mode: UpMode
    servers: Mapping[str, int]
    """The port of each Redis and Sentinel."""
    primary: str | None
    """Which of them is the primary."""
    endpoint: str | None
    """The URL of the only way for clients; None where they know the servers."""
    gateways: tuple[str, ...]
    """The URL of each."""
    policies: tuple[str, ...]
    """Names of the rate limits."""
    fresh: Credentials | None
    """The secrets, if they were made just now."""

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON, without secrets."""
        return {
            "directory": str(self.directory.absolute()),
            "mode": self.mode.value,
            "servers": dict(self.servers),
            "primary": self.primary,
            "endpoint": self.endpoint,
            "gateways": list(self.gateways),
            "policies": list(self.policies),
            "token_files": [str(each.absolute()) for each in token_files(self.directory)],
        }


@dataclass(frozen=True, slots=True)
class GatewayEnded:
    """A gateway has ended by itself."""

    port: int
    code: int
    """Its exit code; negative is the signal that ended it."""
    log_path: Path
    log_tail: str


def token_files(directory: Path) -> tuple[Path, Path]:
    """Where the tokens of services and of operators are."""
    return directory / "gateway-token", directory / "admin-token"


class Up:
    """A local deployment: prepare it, start it, watch it, close it."""

    def __init__(
        self,
        wish: Wish,
        lab: Lab | None,
        *,
        held: ExitStack,
        ports: ExitStack,
        around: Surroundings,
        policies_file: Path | None,
        policies: tuple[str, ...],
        fresh: bool,
    ) -> None:
        """Use `prepare`."""
        self._directory = wish.directory
        self._home = wish.directory.absolute()
        self._mode = wish.mode or UpMode.SENTINEL
        self._addresses = tuple(Address(wish.host, port) for port in wish.ports)
        self._lab = lab
        self._held = held
        self._ports = ports
        self._around = around
        self._policies_file = policies_file
        self._policies = policies
        self._fresh = fresh
        self._serving = False
        self._nodes: tuple[Node, ...] = ()
        self._gateways: list[GatewayProcess] = []

    @classmethod
    def prepare(cls, wish: Wish, environ: Mapping[str, str]) -> Self:
        """Find out all that could be in the way, before anything is started.

        Raises:
            SettingsError: the environment or the policies file is wrong.
            LabError: something else is.
        """
        around = surroundings(environ)
        policies_file = _check_settings(around).policies
        policies = tuple(load_policies(policies_file).limits)
        wish = replace(wish, mode=_settle_mode(wish))
        with ExitStack() as held:
            ports = held.enter_context(reserve(Address(wish.host, port) for port in wish.ports))
            home = wish.directory.absolute()
            lab = _create_lab(wish, home)
            _hold(lock_path(home), held)
            note_policies(home, policies_file)
            fresh = not token_files(home)[1].exists()
            kept = held.pop_all()
        return cls(
            wish,
            lab,
            held=kept,
            ports=ports,
            around=around,
            policies_file=policies_file,
            policies=policies,
            fresh=fresh,
        )

    @property
    def mode(self) -> UpMode:
        """Where the state is kept."""
        return self._mode

    @property
    def ignored(self) -> tuple[str, ...]:
        """The variables that are set and do not count, because the lab has its own."""
        return self._around.ignored

    def start_servers(self) -> None:
        """Start Redis and the Sentinels, and wait until they are usable; nothing if embedded."""
        if self._lab is None:
            return
        self._lab.start(foreground=True)
        self._serving = True
        self._nodes = tuple(self._lab.node(each.name) for each in self._lab.status().nodes)

    def start_gateways(self) -> None:
        """Start all of them; they are not ready yet."""
        environment = self._lab_environment()
        self._ports.close()
        for address in self._addresses:
            around = self._around.of_gateway(environment, address.port)
            self._gateways.append(
                GatewayProcess.launch(self._home, address, around, has_lab=self._lab is not None)
            )

    def await_ready(self) -> None:
        """Wait until all gateways can judge tokens.

        Raises:
            LabError: one ended, or is not ready after 60 seconds.
        """
        until = SYSTEM_CLOCK.monotonic() + READY_SECONDS
        waiting = self._gateways
        while waiting := [gateway for gateway in waiting if not gateway.ready()]:
            if ended := self._ended():
                raise LabError(
                    f"the gateway on port {ended.port} ended at once; its log ends with:\n"
                    f"{ended.log_tail}",
                    remedy="mend what it complains of and try again",
                )
            if SYSTEM_CLOCK.monotonic() > until:
                first = waiting[0]
                raise LabError(
                    f"the gateway on port {first.address.port} is not ready after "
                    f"{READY_SECONDS:g} s; its log ends with:\n{first.log_tail()}",
                    remedy="mend what it complains of and try again",
                )
            time.sleep(_LOOK)

    def report(self) -> UpReport:
        """What runs now."""
        return UpReport(
            directory=self._directory,
            mode=self._mode,
            servers={node.name: node.port for node in self._nodes},
            primary=self._picture().primary,
            endpoint=self._lab_environment().get(names.URL),
            gateways=tuple(gateway.url for gateway in self._gateways),
            policies=self._policies,
            fresh=load_credentials(self._home) if self._fresh else None,
        )

    def watch(self, tell: Callable[[Change], None]) -> GatewayEnded:
        """Tell what becomes of the servers and the policies file, until a gateway ends."""
        seen, looked = self._picture(), SYSTEM_CLOCK.monotonic()
        while (ended := self._ended()) is None:
            time.sleep(_LOOK)
            if SYSTEM_CLOCK.monotonic() - looked >= _PICTURE:
                now, looked = self._picture(), SYSTEM_CLOCK.monotonic()
                for change in changes(seen, now):
                    tell(change)
                seen = now
        return ended

    def close(self) -> None:
        """End the gateways, then the servers, each with a few seconds to do so in order."""
        end_gateways(self._gateways)
        if self._lab is not None and self._serving:
            self._lab.stop()
        self._held.close()

    def kill(self) -> None:
        """End everything at once."""
        end_gateways(self._gateways, grace=0.0)
        for node in self._nodes:
            node.kill()
        self._held.close()

    def _lab_environment(self) -> dict[str, str]:
        if self._lab is not None:
            return self._lab.env()
        secrets = load_credentials(self._home)
        return {
            names.MODE: self._mode.value,
            names.GATEWAY_TOKEN: secrets.gateway_token,
            names.ADMIN_TOKEN: secrets.admin_token,
            names.DIGEST_KEY: secrets.digest_key,
            names.JWT_SECRET: secrets.jwt_secret,
        }

    def _picture(self) -> Picture:
        states = {node.name: node.state for node in self._nodes}
        return Picture(
            states,
            self._lab.primary() if self._lab is not None and self._nodes else None,
            _refusal(self._policies_file),
        )

    def _ended(self) -> GatewayEnded | None:
        for gateway in self._gateways:
            code = gateway.process.poll()
            if code is not None:
                return GatewayEnded(
                    gateway.address.port, code, gateway.log_path, gateway.log_tail()
                )
        return None


def _check_settings(around: Surroundings) -> Settings:
    """What gateways would refuse at their start is refused here; without what the lab answers."""
    stand_in = {names.MODE: UpMode.EMBEDDED.value, names.JWT_SECRET: "-" * 64}
    return from_env({**around.kept, **stand_in})


def _refusal(policies_file: Path | None) -> str | None:
    """Why gateways do not use the policies file as it is now."""
    try:
        load_policies(policies_file)
    except SettingsError as error:
        return str(error)
    return None


def _settle_mode(wish: Wish) -> UpMode:
    """The mode to run, in a directory where nothing runs yet.

    Raises:
        LabError: something does, or there is no server program.
    """
    found = Lab.find(wish.directory)
    mode = wish.mode or UpMode.SENTINEL
    if found is not None:
        if pid := pid_file.holder(lock_path(found.directory)):
            raise _already(found.directory, pid)
        status = found.status()
        if status.running:
            raise LabError(
                f"the lab in {found.directory} is already running",
                remedy=f"stop it first with: {down_recipe(found.directory)}",
            )
        mode = wish.mode or UpMode(status.mode.value)
    if mode is not UpMode.EMBEDDED:
        _demand_server()
    return mode


def _demand_server() -> None:
    try:
        find_server()
    except LabError as error:
        raise LabError(
            error.message,
            remedy=f"{error.remedy}; without any, `aragora-redis up --mode embedded` works",
        ) from error


def _create_lab(wish: Wish, home: Path) -> Lab | None:
    if wish.mode is UpMode.EMBEDDED:
        if not home.exists() or not any(home.iterdir()):  # else it may be somebody's project
            make_private(home)
        return None
    return Lab.create(wish.directory, Mode((wish.mode or UpMode.SENTINEL).value))


def _hold(path: Path, held: ExitStack) -> None:
    descriptor = pid_file.claim(path)
    if descriptor is None:
        raise _already(path.parent, pid_file.holder(path))
    held.callback(os.close, descriptor)
    pid_file.sign(descriptor, os.getpid())


def _already(directory: Path, pid: int | None) -> LabError:
    return LabError(
        f"`up` is already running in {directory} (process {pid})",
        remedy=f"end it with Ctrl-C there, or with: {down_recipe(directory)}",
    )
