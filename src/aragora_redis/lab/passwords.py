"""The passwords that a managed service takes from its clients: one, or two for a while."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from .credentials import load_secret
from .files import write_private
from .service import Premises


class Accepted(msgspec.Struct, frozen=True):
    """A password that opens."""

    digest: str
    """Its SHA-256, as ACL rules have it."""
    until: float | None = None
    """Unix time from which on it is refused; None for never."""


def digest_of(password: str) -> str:
    """How ACL rules name a password."""
    return hashlib.sha256(password.encode()).hexdigest()


def accepted(premises: Premises) -> tuple[Accepted, ...]:
    """All that were ever to be taken and not yet forgotten; at first, the one of the file."""
    try:
        return msgspec.json.decode(_list(premises).read_bytes(), type=tuple[Accepted, ...])
    except FileNotFoundError:
        return (Accepted(digest_of(load_secret(premises.password_file))),)


def accept(premises: Premises, passwords: Iterable[Accepted]) -> None:
    """Have these taken, and no others."""
    write_private(_list(premises), msgspec.json.encode(tuple(passwords)).decode() + "\n")


def in_force(passwords: Iterable[Accepted], now: float) -> frozenset[str]:
    """The digests of those that open at an instant, in Unix time."""
    return frozenset(each.digest for each in passwords if each.until is None or now < each.until)


def _list(premises: Premises) -> Path:
    return premises.directory / "app-passwords.json"
