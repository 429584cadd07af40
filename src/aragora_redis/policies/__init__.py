"""The policies file: what is limited, what breaks a circuit, how long a session lives."""

from .file import Policies, load_policies, parse_policies

__all__ = ["Policies", "load_policies", "parse_policies"]
