"""Which deployment a command is about: the configured one, or a lab."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..address import Address
from ..errors import InvalidInputError, SettingsError
from ..ops.targets import Target, target_of
from ..settings import Feature, Settings, from_env, lookalikes, names
from ..slots import SLOTS
from . import output
from .options import LAB

if TYPE_CHECKING:
    from ..lab import Lab

_POLICIES = "ARAGORA_POLICIES"

OfLab = Annotated[
    Path | None,
    typer.Option(
        "--lab",
        metavar="PATH",
        help="The lab in this directory instead of what is configured.",
    ),
]
OfFeature = Annotated[
    Feature | None,
    typer.Option(
        "--of",
        metavar="FEATURE",
        help="The Redis of tokens, sessions, limits or circuits, where they have their own.",
    ),
]
OfShard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="HOST:PORT|SLOT",
        help="In a Redis Cluster: which shard, by any node of it or a slot.",
    ),
]
Deadline = Annotated[
    float, typer.Option(min=0.1, max=60, help="Seconds that a server has for its answer.")
]


def settings_of(lab: Path | None) -> Settings:
    """The settings of the environment, or of a lab.

    Without an outbox on disk: who acts by hand keeps nothing there, and mostly may not look in.
    Names that look mistyped are told on standard error: mostly they are why something is missing.

    Raises:
        SettingsError, LabError: there are none that can be used.
    """
    environ = os.environ if lab is None else environment_of(_opened(lab))
    for warning in lookalikes(environ):
        output.note(f"warning: {warning}", style="yellow")
    return from_env({key: text for key, text in environ.items() if key != names.TOKENS_OUTBOX})


def each_redis(settings: Settings, of: Feature | None) -> dict[str, Settings]:
    """Each Redis of these, by the features that use it; the one that is named, where one is."""
    if of is not None:
        return {of: settings.of(of)}
    return {", ".join(features): own for own, features in settings.each_redis().items()}


def _opened(directory: Path) -> Lab:
    from ..lab import Lab  # noqa: PLC0415 - thirty modules, which who names no lab does not need

    return Lab.open(directory)


def environment_of(lab: Lab) -> dict[str, str]:
    """What leads to a lab, secrets included, with the policies by which `up` serves on it.

    Where no `up` follows any, those that are named here.
    """
    from ..ops.running_up import policies_followed  # noqa: PLC0415 - as `_opened`

    found = lab.env() | {names.FAIL_OPEN: os.environ.get(names.FAIL_OPEN, "").strip() or "true"}
    policies = policies_followed(lab.directory)
    if policies is None and (named := os.environ.get(_POLICIES, "").strip()):
        policies = Path(named).absolute()
    if policies is not None:
        found[_POLICIES] = str(policies)
    return found


def outbox_named() -> Path | None:
    """The directory of the outbox on this machine, where the environment names one."""
    named = os.environ.get(names.TOKENS_OUTBOX, "").strip()
    return Path(named) if named else None


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


def node_named(text: str, lab: Lab | None) -> Address:
    """The node at an address, or of a name in a lab.

    Raises:
        InvalidInputError, LabError: it names none.
    """
    if lab is not None and ":" not in text:
        return lab.node(text).address
    return Address.parse(text, default_port=6379)


def shard_named(text: str, lab: Lab | None) -> Address | int:
    """A node or a slot, which names a shard.

    Raises:
        InvalidInputError, LabError: it names none.
    """
    if not text.isdecimal():
        return node_named(text, lab)
    if int(text) >= SLOTS:
        raise InvalidInputError(f"there is no slot {text}", remedy=f"slots are 0 to {SLOTS - 1}")
    return int(text)


def _no_redis() -> SettingsError:
    named = f"the lab that is here with --lab {LAB}" if LAB.is_dir() else "a lab with --lab"
    return SettingsError(
        "no Redis is configured",
        remedy="set ARAGORA_REDIS_URL, or ARAGORA_REDIS_SENTINEL_HOSTS and "
        f"ARAGORA_REDIS_SENTINEL_MASTER, or ARAGORA_REDIS_CLUSTER_NODES; or name {named}",
    )
