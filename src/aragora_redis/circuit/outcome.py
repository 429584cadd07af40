"""What a call says of the dependency that it was made to: a success, a failure, or nothing. Pure.

A call that was cancelled (`CancelledError`, `GeneratorExit`, `KeyboardInterrupt`) says nothing: who
asked went away. So a timeout counts as a failure where it is set within the guarded call, which
then sees a `TimeoutError`, and as nothing where it is set around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from msgspec import Struct

from ..errors import InvalidInputError

Outcome = Literal["ok", "failed", "released"]
Kinds = tuple[type[BaseException], ...]
Classify = Callable[[Any], bool | None]
"""Whether a result is a failure, such as a response of 500; None where it says nothing."""


class Rules(Struct, frozen=True):
    """How calls are judged.

    Attributes:
        failure_on: exceptions that are failures; others say that the dependency answered.
        ignore: exceptions that say nothing, though they be among those.
        classify: judges what a call has returned; without it all that returns is a success.
    """

    failure_on: Kinds = (Exception,)
    ignore: Kinds = ()
    classify: Classify | None = None

    def of_error(self, error: BaseException) -> Outcome:
        """What an exception says."""
        if not isinstance(error, Exception) or isinstance(error, self.ignore):
            return "released"
        return "failed" if isinstance(error, self.failure_on) else "ok"

    def of_result(self, result: Any) -> Outcome:
        """What a returned value says."""
        failed = self.classify(result) if self.classify is not None else False
        if failed is None:
            return "released"
        return "failed" if failed else "ok"

    def fit_streams(self) -> None:
        """Demand that they can judge a generator, which returns nothing.

        Raises:
            InvalidInputError: they are to judge what is returned.
        """
        if self.classify is not None:
            raise InvalidInputError(
                "`classify` judges what is returned, and a generator returns nothing",
                remedy="raise within the generator, or call `guard` and tell its `result`",
            )


DEFAULT = Rules()
