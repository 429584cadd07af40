"""What a lab is to be: a new one with its directory, or one that is taken up again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from ..errors import LabError
from . import manifest, network
from .files import make_private
from .manifest import Manifest, Mode, PortChoice
from .service import Service, forbid
from .troubles import Trouble

_Choice = TypeVar("_Choice", Mode, PortChoice, Trouble)


def choice(kind: type[_Choice], value: str) -> _Choice:
    try:
        return kind(value)
    except ValueError as error:
        raise LabError(
            f"{value!r} is not a choice here", remedy=f"take {' or '.join(kind)}"
        ) from error


def prepare(
    path: Path,
    mode: Mode,
    ports: PortChoice,
    down_after_ms: int,
    *,
    forbidden: Iterable[str] | None,
    name_delay: float | None,
    idle_seconds: int | None,
) -> Manifest:
    """What the lab in a directory is to be; see `Lab.create`.

    Raises:
        LabError: it cannot be that.
    """
    if not str(path).isprintable():
        raise LabError(f"{str(path)!r} cannot be a lab's directory", remedy="choose another")
    found = manifest.load(path)
    if found is None:
        found = _new(path, mode, ports, down_after_ms)
    elif found.mode is not mode:
        raise LabError(
            f"the lab in {path} is of mode {found.mode}",
            remedy=f"give mode {mode} a directory of its own with --lab (make: DIR=), "
            f"or remove this one with its data: rm -r {shlex.quote(str(path))}",
        )
    service = found.service
    if service is not None:
        service = _wished(service, forbidden, name_delay, idle_seconds)
    elif (forbidden, name_delay, idle_seconds) != (None, None, None):
        raise LabError(
            f"mode {mode} forbids no command, has no name and closes no connection",
            remedy="leave that out, or take mode managed",
        )
    return msgspec.structs.replace(found, down_after_ms=down_after_ms, service=service)


def _new(path: Path, mode: Mode, ports: PortChoice, down_after_ms: int) -> Manifest:
    try:
        if path.exists() and any(path.iterdir()):
            raise LabError(
                f"{path} holds something that is not a lab", remedy="choose an empty directory"
            )
        make_private(path)
        chosen = manifest.choose_ports(mode, ports)
        addresses = network.choose()
        if mode is Mode.MANAGED and not network.has_addresses(addresses):
            raise LabError(
                "the nodes of a managed lab need addresses of their own, as Linux has on loopback",
                remedy="run it on Linux",
            )
        fresh = Manifest(mode, ports, down_after_ms, chosen.data, chosen.sentinels, addresses)
        if mode is Mode.MANAGED:
            fresh = msgspec.structs.replace(fresh, service=Service())
        manifest.save(path, fresh)
    except OSError as error:
        raise LabError(
            f"{path} cannot be used: {error.strerror}", remedy="choose another directory"
        ) from error
    return fresh


def _wished(
    service: Service,
    forbidden: Iterable[str] | None,
    name_delay: float | None,
    idle_seconds: int | None,
) -> Service:
    """A service with what is asked for, and what it was before where nothing is."""
    if forbidden is not None:
        service = msgspec.structs.replace(service, forbidden=forbid(forbidden))
    if name_delay is not None:
        service = msgspec.structs.replace(service, name_delay_ms=round(name_delay * 1000))
    if idle_seconds is not None:
        service = msgspec.structs.replace(service, idle_seconds=idle_seconds)
    return service
