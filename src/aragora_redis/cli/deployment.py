"""Which deployment a command is about: the configured one, or a lab."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import SettingsError
from ..lab import Lab
from ..ops.targets import Target, target_of
from ..settings import Settings, from_env

OfLab = Annotated[
    Path | None,
    typer.Option(
        "--lab",
        "--dir",
        metavar="PATH",
        help="The lab in this directory instead of what is configured.",
    ),
]
Deadline = Annotated[
    float, typer.Option(min=0.1, max=60, help="Seconds that a server has for its answer.")
]


def settings_of(lab: Path | None) -> Settings:
    """The settings of the environment, or of a lab.

    Raises:
        SettingsError, LabError: there are none that can be used.
    """
    return from_env(None if lab is None else Lab.open(lab).env())


def demand_target(settings: Settings) -> Target:
    """The servers that settings lead to.

    Raises:
        SettingsError: they lead to none.
    """
    target = target_of(settings)
    if target is None:
        raise _no_redis()
    return target


def demand_redis(settings: Settings) -> None:
    """Make sure that settings lead to a Redis, over TCP or a Unix socket.

    Raises:
        SettingsError: they lead to none.
    """
    if settings.mode == "embedded":
        raise _no_redis()


def _no_redis() -> SettingsError:
    return SettingsError(
        "no Redis is configured",
        remedy="set ARAGORA_REDIS_URL, or ARAGORA_REDIS_SENTINEL_HOSTS and "
        "ARAGORA_REDIS_SENTINEL_MASTER, or ARAGORA_REDIS_CLUSTER_NODES; or name a lab with --lab",
    )
