"""Which servers settings lead to, and how to log in to them."""

from __future__ import annotations

from dataclasses import dataclass

from ..address import Address
from ..errors import SettingsError
from ..identity import source_of
from ..settings import Cluster, Credentials, Embedded, Sentinel, Settings, Standalone, Tls, names
from .access import ANYBODY, Access


@dataclass(frozen=True, slots=True)
class StandaloneTarget:
    """One Redis, or a managed one behind one address."""

    address: Address
    redis: Access = ANYBODY


@dataclass(frozen=True, slots=True)
class SentinelTarget:
    """A primary that Sentinels name."""

    sentinels: tuple[Address, ...]
    master_name: str
    redis: Access = ANYBODY
    sentinel: Access = ANYBODY
    sentinel_setting: str = names.SENTINEL_PASSWORD
    """Which variable proves to the Sentinels who we are, or would where none does."""


@dataclass(frozen=True, slots=True)
class ClusterTarget:
    """A Redis Cluster. The nodes are where to begin; the others are learned from them."""

    nodes: tuple[Address, ...]
    redis: Access = ANYBODY


Target = StandaloneTarget | SentinelTarget | ClusterTarget


def target_of(settings: Settings) -> Target | None:
    """The servers that settings lead to, and how to log in to them.

    Raises:
        SettingsError: a file of theirs cannot be used, or they lead to a Unix socket.
        LinkDownError: who issues the credentials cannot be reached.
    """
    redis = _access(
        settings, settings.credentials, settings.password_setting, settings.tls, settings.db
    )
    match settings.topology:
        case Sentinel(master, hosts):
            sentinel = _access(
                settings,
                settings.sentinel_credentials,
                settings.variable(names.SENTINEL_PASSWORD),
                settings.sentinel_tls,
            )
            return SentinelTarget(hosts, master, redis, sentinel, sentinel.setting)
        case Standalone(Address() as address):
            return StandaloneTarget(address, redis)
        case Standalone(path):
            raise SettingsError(
                f"servers are asked over TCP, and {settings.variable(names.URL)} names the Unix "
                f"socket {path}",
                remedy="give a TCP address of the same server to this check",
            )
        case Cluster(nodes):
            return ClusterTarget(nodes, redis)
        case Embedded():
            return None


def _access(
    settings: Settings, credentials: Credentials, setting: str, tls: Tls | None, db: int = 0
) -> Access:
    issued = source_of(credentials).issue()
    return Access(
        issued.username,
        None if issued.secret is None else issued.secret.reveal(),
        None if tls is None else tls.context(),
        db,
        settings.hosts,
        setting,
    )
