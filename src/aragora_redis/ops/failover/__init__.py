"""A coordinated switchover: plan it, do it, tell what became of it."""

from .report import Phase, SwitchoverReport
from .switchover import switch_over

__all__ = ["Phase", "SwitchoverReport", "switch_over"]
