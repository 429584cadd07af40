"""Real redis-server and Sentinel processes on loopback, to kill, freeze, cut off, bring back."""

from .cuts import Cut
from .lab import Lab
from .manifest import Mode, PortChoice
from .node import Kind
from .process import State
from .status import LabStatus, NodeStatus
from .troubles import Trouble

__all__ = [
    "Cut",
    "Kind",
    "Lab",
    "LabStatus",
    "Mode",
    "NodeStatus",
    "PortChoice",
    "State",
    "Trouble",
]
