"""Where in the histories of a shard something stands."""

from __future__ import annotations

from typing import NamedTuple


class Position(NamedTuple):
    """Up to where a history has been applied."""

    nonce: bytes
    rid: bytes
    era: int
    seq: int

    @property
    def tells(self) -> bool:
        """Whether it names its history: without a replication id all of them look like one."""
        return self.rid != b"0"
