"""What every way to migrate is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .journal import Journal

OnStep = Callable[[str], None]
Save = Callable[[Journal], None]


@dataclass(frozen=True, slots=True)
class Copied:
    """How far a copy is."""

    what: str
    done: int
    total: int
    """0 where it is not known yet."""


OnCopied = Callable[[Copied], None]


class Steps(Protocol):
    """The steps of one migration; each can be begun again."""

    async def bring(self, *, move: bool) -> None:
        """Bring the target to what the source has, and the writes to the target if `move`."""

    async def resume(self, *, overwrite: bool) -> None:
        """Go on with an exchange of the writes that was interrupted.

        `overwrite` gives up what one took that was started again meanwhile, with less.
        """

    async def check(self, *, overwrite: bool) -> None:
        """See that after the move only the target takes writes; `overwrite` gives up the others."""

    def shut(self) -> bool:
        """Whether anything keeps writes from the side that has given them up."""

    async def settle(self) -> list[str]:
        """Put back what was changed in the target; what is left to be done by hand."""

    async def take_over(self) -> None:
        """Have the target take the writes with what it has: the source is gone for good."""

    async def move_back(self) -> None:
        """Have the source take the writes again, if it does not yet, with all that was written.

        First it is seen that it took none itself meanwhile.
        """

    async def detach(self) -> list[str]:
        """Have the target go its own way; returns as `settle` does."""
