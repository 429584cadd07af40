"""Aragora's session store, which this layer leaves as it is.

It is a store of values under names that Aragora chooses: states of debates, connections of
WebSockets, events between servers. Our sessions are made under ids of their own, which nobody can
choose. Aragora's store for Redis works through `aragora-redis proxy`; the self-check says which
store there is.
"""

from __future__ import annotations

from importlib import import_module

from .seam import Finding, Where
from .versions import Checked


class Sessions:
    """No seam, but a feature that is told of."""

    feature = "session store"
    checked = Checked("2.11", "2.12")

    def install(self) -> None:
        """Nothing stands in."""

    def verify(self) -> Finding:
        """See which store Aragora gives out."""
        module = import_module("aragora.server.session_store")
        try:
            distributed = module.get_session_store().is_distributed
        except RuntimeError as error:
            return Finding(self.feature, Where.ALONE, f"Aragora has none: {error}")
        detail = (
            "Aragora's own, at ARAGORA_REDIS_URL; it follows no failover unless a proxy does"
            if distributed
            else "in memory of each instance; ARAGORA_REDIS_URL at `aragora-redis proxy` shares it"
        )
        return Finding(self.feature, Where.ALONE, detail)
