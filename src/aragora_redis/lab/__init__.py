"""Real redis-server and Sentinel processes on 127.0.0.1: start, kill, freeze, thaw, bring back."""

from .lab import Lab, LabStatus, NodeStatus
from .manifest import Mode, PortChoice
from .node import Kind
from .process import State

__all__ = ["Kind", "Lab", "LabStatus", "Mode", "NodeStatus", "PortChoice", "State"]
