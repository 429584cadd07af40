"""Which releases of Aragora a seam was checked against."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


@dataclass(frozen=True, slots=True)
class Checked:
    """Releases from one on, up to another that is not among them, such as `2.11` and `2.12`."""

    first: str
    below: str

    def __str__(self) -> str:
        return f">={self.first},<{self.below}"

    def __contains__(self, version: str) -> bool:
        return numbers(self.first) <= numbers(version) < numbers(self.below)


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: `2.11.1rc1` is (2, 11, 1); none where it begins without."""
    found = _NUMBERS.match(version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
