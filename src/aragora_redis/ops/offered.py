"""What a managed service keeps from its clients, and what cannot be seen for that. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from redis.exceptions import NoPermissionError, ReadOnlyError, ResponseError

_TELLS = {
    "INFO": "its memory, clients, disk and version",
    "CONFIG": "how it is configured",
    "ACL": "what our user may",
    "COMMAND": "which commands it has",
}


def is_forbidden(error: ResponseError, *, alone: bool) -> bool:
    """Whether a service does not offer a command, which is nobody's fault.

    Services answer it with a plain `ERR`, most as an unknown command. What has a code of its own is
    another matter; so is NOPERM: it is a right that can be granted, as for whom we log in as.

    Args:
        error: what a command that every Redis has was answered.
        alone: whether one address is configured, behind which there may be such a service. What
            Sentinels or the nodes of a cluster lead to is run by those who read this.
    """
    code = str(error).partition(" ")[0]
    return alone and type(error) is ResponseError and not code.isupper()


def unseen(forbidden: Collection[str], of: Collection[str] = tuple(_TELLS)) -> tuple[str, ...]:
    """One line that says what cannot be seen, or none.

    Args:
        forbidden: the commands that a service keeps from us.
        of: those that would have told what is looked for.
    """
    lost = [command for command in _TELLS if command in forbidden and command in of]
    if not lost:
        return ()
    what = "; ".join(_TELLS[command] for command in lost)
    return (f"not seen, as the service forbids {', '.join(lost)}: {what}",)


@dataclass(frozen=True, slots=True)
class Trial:
    """What an empty write was answered: it removes a key that is not there.

    Attributes:
        role: `master` or `slave`; None where the answer does not tell.
        refusal: why a primary refused it.
    """

    role: str | None = None
    refusal: str | None = None


def read_trial(error: ResponseError | None, *, alone: bool) -> Trial:
    """What an empty write tells.

    Args:
        error: what it was refused with; None where it was taken.
        alone: see `is_forbidden`.
    """
    if error is None:
        return Trial("master")
    if isinstance(error, ReadOnlyError):
        return Trial("slave")
    if isinstance(error, NoPermissionError) or is_forbidden(error, alone=alone):
        return Trial()
    return Trial("master", str(error))
