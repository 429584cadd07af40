"""What the commands of an operator share: who acts and why, and the way to the primary."""

from __future__ import annotations

import asyncio
import datetime as dt
import getpass
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from ..audit.act import validate_signature
from ..clock import SYSTEM_CLOCK
from ..errors import InvalidInputError
from ..ops.desk import Desk, open_desk
from ..settings import Feature, Settings, names
from ..state.revocations.receipt import Receipt
from . import output
from .deployment import demand_redis

T = TypeVar("T")

REACH_LIMIT = 5.0
"""Seconds within which the primary must be reached."""
_ID_LIMIT = 16_384
"""Characters of an id or a token that is read from a file."""

Reason = Annotated[str, typer.Option("--reason", help="Why: it is recorded, and shown to people.")]
Actor = Annotated[
    str | None,
    typer.Option("--actor", help="Who does this, for the record; the user of this shell."),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Rows at most.")]


def at_desk(
    settings: Settings,
    feature: Feature,
    work: Callable[[Desk], Awaitable[T]],
    *,
    acts: bool = False,
) -> T:
    """Reach the primary of a feature and do the work there; unless it `acts`, nothing is written.

    Raises:
        AragoraRedisError: the primary cannot be reached, or as the work does.
    """
    demand_redis(settings)

    async def run() -> T:
        async with open_desk(
            settings, feature, clock=SYSTEM_CLOCK, within=REACH_LIMIT, acts=acts
        ) as desk:
            if acts and not await desk.fleet():
                own = settings.of(feature)
                output.note(
                    f"no instance is alive under the prefix {own.prefix!r} in database {own.db}: "
                    f"see that ARAGORA_KEY_PREFIX and {own.variable(names.DB)} are those of the "
                    "services",
                    style="yellow",
                )
            return await work(desk)

    return asyncio.run(run())


def signed(actor: str | None, reason: str) -> str:
    """Who acts.

    Raises:
        InvalidInputError: nobody is named, or no reason.
    """
    who = actor if actor is not None else _user()
    validate_signature(who, reason)
    return who


@contextmanager
def told_of(path: Path) -> Iterator[None]:
    """Tell of what cannot be read after it was opened by its name: the system does not."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def secret_from(path: Path, what: str) -> str:
    """A secret out of a file, or of standard input for `-`: arguments are seen by everybody.

    Raises:
        InvalidInputError: there is none in it.
    """
    if str(path) == "-":
        line = b"" if sys.stdin is None else sys.stdin.buffer.readline(_ID_LIMIT)
    else:
        with path.open("rb") as file, told_of(path):
            line = file.readline(_ID_LIMIT)
    text = line.decode("utf-8", "replace").strip()
    if not text:
        raise InvalidInputError(f"{path} holds no {what}", remedy="write it on the first line")
    return text


def instant(text: str | None) -> float | None:
    """An instant in Unix seconds or RFC 3339, as Unix seconds."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise typer.BadParameter(
            f"{text!r} is no instant: give Unix seconds, or a text such as 2030-01-31T12:00:00Z"
        )
    return moment.timestamp()


def when(at: float) -> str:
    """An instant for people, in UTC."""
    try:
        return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{at:.0f}"


def tell_receipt(done: str, receipt: Receipt, *, count: int | None = 1, as_json: bool) -> None:
    """Say how far it got, and exit: 0 where that is as far as was wanted, else 1.

    Without a count it is not known how many that were.
    """
    reached = receipt.level >= receipt.wanted
    if as_json:
        output.write_json(
            {
                done: count,
                "level": receipt.level.word,
                "wanted": receipt.wanted.word,
                "acknowledged": receipt.acknowledged,
                "required": receipt.required,
                "not_before": receipt.not_before,
            }
        )
    else:
        many = done if count == 1 else f"{'all' if count is None else count} {done}"
        output.write(_said(many, receipt), style="" if reached else "yellow")
    raise typer.Exit(0 if reached else 1)


def _said(many: str, receipt: Receipt) -> str:
    if receipt.level < receipt.wanted:
        why = (
            "replicas have not confirmed it in time"
            if receipt.required
            else "no majority of Sentinels was heard, or they call every replica down"
        )
        return f"{many}, on the primary only: {why}; run it again to make sure"
    how_far = f"{many}: {receipt.level.word}"
    if receipt.required:
        how_far += f", {receipt.acknowledged} replicas have it"
    if receipt.not_before is not None:
        how_far += f"; tokens issued from {when(receipt.not_before)} on are valid"
    return how_far


def _user() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        return ""
    became = os.environ.get("SUDO_USER")
    return f"{became} (as {user})" if became and became != user else user
