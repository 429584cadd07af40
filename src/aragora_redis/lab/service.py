"""What a managed service is like from outside, and where a lab keeps what it takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..errors import LabError, SettingsError
from ..settings.hosts import Hosts
from .credentials import load_secret
from .files import write_private
from .node import Node

APP = "app"
"""The user that clients log in as."""

FORBIDDEN = (
    "ACL",
    "BGREWRITEAOF",
    "BGSAVE",
    "CONFIG",
    "DEBUG",
    "FAILOVER",
    "MIGRATE",
    "MONITOR",
    "REPLICAOF",
    "ROLE",
    "SAVE",
    "SHUTDOWN",
    "SLAVEOF",
    "SYNC",
)
"""What is unknown to clients by default: the "Restricted commands" of Amazon ElastiCache, and ACL,
FAILOVER, MONITOR and ROLE, on which nobody can count either. The services differ in it.
"""

_NEEDED = {
    *("AUTH", "DEL", "EXEC", "MULTI", "PEXPIREAT", "PING"),
    *("PSYNC", "REPLCONF", "SELECT", "SET", "UNLINK"),
}
"""What a replica asks its primary, or is told in a form that no client chose."""


class Service(msgspec.Struct, frozen=True):
    """A managed service, as its clients find it."""

    name: str = "redis.managed.internal"
    """The name that leads to the primary."""
    name_delay_ms: int = 500
    """How long the name still leads to the old primary after a promotion, as DNS does."""
    idle_seconds: int = 10
    """After how long an idle connection is closed; 0 for never."""
    forbidden: tuple[str, ...] = FORBIDDEN
    """Commands that are unknown to clients, in capitals."""


@dataclass(frozen=True, slots=True)
class Premises:
    """A service in the directory of a lab."""

    service: Service
    directory: Path

    @property
    def ca(self) -> Path:
        """Whom clients have to trust."""
        return self.directory / "ca.pem"

    @property
    def certificate(self) -> Path:
        """What the nodes show, for the name of the service alone."""
        return self.directory / "service.pem"

    @property
    def key(self) -> Path:
        """The private key to the certificate."""
        return self.directory / "service-key.pem"

    @property
    def hosts_file(self) -> Path:
        """Where the name is, in the form of /etc/hosts."""
        return self.directory / "hosts"

    @property
    def password_file(self) -> Path:
        """The password that clients are to log in with now."""
        return self.directory / f"{APP}-password"

    @property
    def secret_names(self) -> Mapping[str, str]:
        """What the forbidden commands are called by those who run the service."""
        secret = load_secret(self.directory / "command-secret")
        return {each: f"{secret}-{each.lower()}" for each in self.service.forbidden}

    def point(self, node: Node) -> None:
        """Have the name lead to a node."""
        write_private(self.hosts_file, f"{node.address.host} {self.service.name}\n")

    def leads_to(self, nodes: Iterable[Node]) -> Node | None:
        """The node that the name leads to; None where it leads nowhere."""
        try:
            found = Hosts(self.hosts_file).addresses(self.service.name)
        except SettingsError:
            return None
        return next((node for node in nodes if (node.address.host,) == found[:1]), None)


def forbid(commands: Iterable[str]) -> tuple[str, ...]:
    """Commands to forbid, in capitals, each once.

    Raises:
        LabError: one is no command's name, or replication would not work without it.
    """
    found = tuple(sorted({command.upper() for command in commands}))
    if wrong := [each for each in found if not re.fullmatch(r"[A-Z_]+", each)]:
        raise LabError(
            f"{wrong[0]!r} is no command that can be forbidden", remedy="name whole commands"
        )
    if needed := sorted(_NEEDED.intersection(found)):
        raise LabError(
            f"a replica cannot follow its primary without {', '.join(needed)}",
            remedy="leave that out",
        )
    return found
