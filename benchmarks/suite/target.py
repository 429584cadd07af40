"""What a worker is told of the server. PURE."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final

KEYS: Final = 1_000
"""Subjects that calls go round, unless a case says otherwise."""
SUBJECTS: Final = tuple(f"user:{number}" for number in range(KEYS))
PLENTY: Final = 1_000_000
"""Calls a second, and burst, of the limits that are to refuse nobody."""


@dataclass(frozen=True, slots=True)
class Target:
    """The server, and the script that a check of a rate limit runs there.

    Attributes:
        env: `ARAGORA_*` of a state on this server.
        script: the source,
        sha: its digest,
        arguments: and ARGV of a check of one key.
    """

    host: str
    port: int
    password: str = field(repr=False)
    env: Mapping[str, str] = field(repr=False)
    script: str = field(repr=False)
    sha: str
    arguments: tuple[str, ...]

    @property
    def url(self) -> str:
        """For clients that take one."""
        return f"redis://:{self.password}@{self.host}:{self.port}/0"

    def key(self, number: int) -> str:
        """The key of a bucket, as long as ours."""
        return f"bench:l:{{{number % KEYS:022}}}:api"

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Target:
        """What `to_json` wrote."""
        told = json.loads(line)
        return cls(**{**told, "arguments": tuple(told["arguments"])})
