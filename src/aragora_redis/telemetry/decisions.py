"""How decisions on rate limits are counted: each check is one, and few of them differ."""

from __future__ import annotations

from collections.abc import Callable

from ..events import Decided


class Decisions:
    """Counts them, by all that metrics tell of one: not by whom it counted, of whom there are many.

    Args:
        counter: makes what counts one more like a decision.
    """

    def __init__(self, counter: Callable[[Decided], Callable[[], object]]) -> None:
        self._counter = counter
        self._by_kind: dict[tuple[str, bool, str, bool], Callable[[], object]] = {}

    def __len__(self) -> int:
        """How many kinds of them there were."""
        return len(self._by_kind)

    def count(self, event: Decided) -> None:
        """Count one."""
        kind = (event.policy, event.allowed, event.source, event.shadow)
        count = self._by_kind.get(kind)
        if count is None:
            count = self._by_kind[kind] = self._counter(event)
        count()
