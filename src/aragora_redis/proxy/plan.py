"""What a proxy is asked to do, and what it must not be asked. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal

from ..address import Address
from ..errors import SettingsError
from ..settings import Sentinel, Settings, Standalone
from .inbound import Inbound

WAIT = 10.0
"""Longer than a failover with a down-after-milliseconds of 5 s, which takes 5.5 to 7."""

Role = Literal["primary", "replicas"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the command line says. Durations are seconds.

    Attributes:
        listen: the port that leads to the primary.
        replicas: the port that leads to replicas in turn; None for none.
        tls: for the programs that connect; None is plain TCP. The settings have it for the servers.
        open_to_all: whether other machines may connect without TLS.
        max_connections: how many at a time, on both ports together.
        wait: how long a connection waits for a server to lead to.
        drain: how long connections are given at the end.
        max_lag: how far behind the primary a replica may be.
        falls_back: whether the replicas' port leads to the primary while no replica is usable.
        logs_in: whether connections are logged in with the credentials of the settings.
        metrics: where figures and health are told over HTTP; None for nowhere.
    """

    listen: Address
    replicas: Address | None = None
    tls: Inbound | None = None
    open_to_all: bool = False
    max_connections: int = 1000
    wait: float = WAIT
    drain: float = 10.0
    max_lag: float = 10.0
    falls_back: bool = False
    logs_in: bool = False
    metrics: Address | None = None

    @property
    def ports(self) -> dict[Role, Address]:
        """Where to listen."""
        ports: dict[Role, Address] = {"primary": self.listen}
        return ports if self.replicas is None else ports | {"replicas": self.replicas}

    def check(self, settings: Settings) -> None:
        """Make sure that these settings can be led to so.

        Raises:
            SettingsError: they cannot, or it would not be safe.
        """
        _check_mode(self, settings)
        outside = [each for each in self.ports.values() if not _is_loopback(each.host)]
        if not outside:
            return
        if self.logs_in:
            raise SettingsError(
                f"whoever reaches {outside[0]} would be logged in without a password",
                remedy="use --login on loopback only, such as 127.0.0.1",
            )
        if self.tls is None and not self.open_to_all:
            raise SettingsError(
                f"{outside[0]} is open to other machines, and nothing is encrypted there",
                remedy="listen on 127.0.0.1, or give --tls-cert and --tls-key, or --plain-to-all",
            )


def _check_mode(plan: Plan, settings: Settings) -> None:
    match settings.topology:
        case Sentinel():
            return
        case Standalone():
            if plan.replicas is not None:
                raise SettingsError(
                    "replicas are known from Sentinels only",
                    remedy="leave --replicas away, and read from the service's reader endpoint",
                )
        case _:
            raise SettingsError(
                f"one port cannot lead into the mode {settings.mode}",
                remedy="the clients of a cluster must know slots themselves: use one that does"
                if settings.mode == "cluster"
                else "set ARAGORA_REDIS_SENTINEL_HOSTS or ARAGORA_REDIS_URL",
            )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
