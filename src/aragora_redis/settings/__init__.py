"""Settings: the `ARAGORA_*` variables as one typed value, with the origin of every field."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .credentials import AwsCache, Credentials
from .describe import Row, describe
from .hosts import Hosts
from .model import (
    Cluster,
    Embedded,
    Feature,
    GatewaySettings,
    HttpLimits,
    JwtSettings,
    Level,
    Mode,
    OnOutage,
    Redis,
    Sentinel,
    SessionSettings,
    Settings,
    Standalone,
    TokenSettings,
    Topology,
)
from .secret import Secret
from .tls import Tls

__all__ = [
    "AwsCache",
    "Cluster",
    "Credentials",
    "Embedded",
    "Feature",
    "GatewaySettings",
    "Hosts",
    "HttpLimits",
    "JwtSettings",
    "Level",
    "Mode",
    "OnOutage",
    "Redis",
    "Row",
    "Secret",
    "Sentinel",
    "SessionSettings",
    "Settings",
    "Standalone",
    "Tls",
    "TokenSettings",
    "Topology",
    "describe",
    "displaced",
    "from_env",
    "lookalikes",
]


def from_env(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings that the environment describes; the process's own where none is given.

    Precedence: `ARAGORA_REDIS_MODE`; else Sentinel hosts; else cluster
    nodes or `ARAGORA_REDIS_CLUSTER_MODE=true`; else a URL; else no Redis at all.
    Nothing is logged: `Settings.warnings` holds what the operator should hear once.

    Raises:
        SettingsError: lists every problem that was found, each with its variable and a remedy.
    """
    # pydantic costs a tenth of a second or two, which who builds `Settings` in code need not pay.
    from .load import load  # noqa: PLC0415

    return load(os.environ if environ is None else environ)


def lookalikes(environ: Mapping[str, str]) -> tuple[str, ...]:
    """A warning for each name that is not read here and looks like a mistyped one that is not set.

    They are among `Settings.warnings` too, for whom the settings can be used.
    """
    from . import reading  # noqa: PLC0415 - as above

    return tuple(reading.lookalikes(environ))


def displaced(environ: Mapping[str, str], by: Mapping[str, str]) -> list[str]:
    """The variables of an environment that lead elsewhere beside those that say where Redis is now.

    Args:
        environ: what is set.
        by: what says so, such as `Lab.env()`.
    """
    from . import reading  # noqa: PLC0415 - as above

    return reading.displaced(environ, by)
