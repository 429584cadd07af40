"""The record of acts by hand, for threads."""

from __future__ import annotations

from ..audit.page import Page
from .crossing import Crossing

READ_LIMIT = 5.0
"""Seconds that a page may take."""


class Audit:
    """See `aragora_redis.state.audit.audit.Audit`."""

    def __init__(self, crossing: Crossing) -> None:
        self._crossing = crossing

    def recent(
        self,
        limit: int = 50,
        *,
        before: str | None = None,
        actor: str | None = None,
        target: str | None = None,
    ) -> Page:
        """What was done by hand, from every face and instance, the newest first."""
        return self._crossing.cross(
            lambda state: state.audit.recent(limit, before=before, actor=actor, target=target),
            READ_LIMIT,
        )
