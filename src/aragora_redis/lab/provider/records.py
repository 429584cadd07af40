"""What the provider of a managed service writes down, and what it is asked for."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..files import write_private


class Record(msgspec.Struct, frozen=True):
    """What outlives the provider's process."""

    primary: str = "redis-0"
    """Who is to be primary, whether or not it has been told."""
    followers: tuple[str, ...] = ("redis-1",)
    """Who was told to replicate it. A node that was not yet comes back as what it was."""
    heir: str | None = None
    """To whom the primary is handing over."""
    order: str = ""
    """The last order that was taken up."""
    refusal: str = ""
    """Why that came to nothing; empty where it did not."""
    pid: int = 0
    """The process that wrote this."""


class Order(msgspec.Struct, frozen=True):
    """A planned failover that is asked for."""

    order: str
    """Names it."""
    to: str
    """Who is to be primary."""


def read_record(directory: Path) -> Record:
    """What the provider of this directory has written; that of a new service where it has not."""
    try:
        return msgspec.json.decode((directory / "record.json").read_bytes(), type=Record)
    except FileNotFoundError:
        return Record()


def write_record(directory: Path, record: Record) -> None:
    """Replace it at once."""
    write_private(directory / "record.json", msgspec.json.encode(record).decode() + "\n")


def read_order(directory: Path) -> Order | None:
    """The last order that was given."""
    try:
        return msgspec.json.decode((directory / "order.json").read_bytes(), type=Order)
    except FileNotFoundError:
        return None


def give_order(directory: Path, order: Order) -> None:
    """Ask for it."""
    write_private(directory / "order.json", msgspec.json.encode(order).decode() + "\n")
