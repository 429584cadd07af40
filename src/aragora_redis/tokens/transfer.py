"""Revocations on their way from one Redis to another: JSON lines, checked as they are read. Pure.

The first line names the digest key by its fingerprint, the last one counts and digests all lines
between. Each line carries a checksum of its own, so what is read may be joined before the last line
has come: a join of what is true does no harm.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from ..errors import InvalidInputError
from .entry import DAY, Entry
from .lines import entry_of, line_of, sealed, unsealed
from .note import Note
from .pardon import is_pardon

FORMAT = 2
"""Of the lines, and of how members are made."""
FARTHEST = 3660
"""Days ahead after which an entry is taken for a mistake."""


FRAME_LINES = 2
"""The first and the last line, which are no entries."""


class Writer:
    """Writes the lines.

    Args:
        fingerprint: of the digest key.
        now: Unix seconds.
    """

    def __init__(self, fingerprint: str, now: float) -> None:
        self.head = sealed({"revocations": FORMAT, "key": fingerprint, "at": int(now)})
        self._sum = hashlib.sha256()
        self._count = 0

    def lines(self, entries: list[Entry]) -> bytes:
        """The lines of some entries."""
        written = b"".join(map(line_of, entries))
        self._sum.update(written)
        self._count += len(entries)
        return written

    def end(self) -> bytes:
        """The last line."""
        return sealed({"count": self._count, "sha256": self._sum.hexdigest()})


class Reader:
    """Reads the lines, and refuses what must not be joined.

    Args:
        fingerprint: of the digest key of here.
        earliest: now, by the clock that is behind the others (Unix seconds): what is over by it
            is left out.
        latest: now, by the one that is ahead.
        skew: seconds by which a cut-off may lie ahead of that.
    """

    def __init__(self, fingerprint: str, *, earliest: float, latest: float, skew: float) -> None:
        self._fingerprint = fingerprint
        self._earliest = earliest
        self._latest = latest
        self._skew = skew
        self._sum = hashlib.sha256()
        self._number = 0
        self._ended = False
        self.count = 0
        """Entries read."""
        self.expired = 0
        """Entries among them that are over, and so were left out."""

    def entries(self, line: bytes) -> Iterator[Entry]:
        """The entry of the next line, if it has one that still matters.

        Raises:
            InvalidInputError: the line is not as it was written, or must not be joined.
        """
        self._number += 1
        if self._ended:
            raise self._bad("something follows the last line")
        if self._number == 1:
            self._begin(line)
            return
        entry = entry_of(line)
        if entry is None:
            self._end(line)
            return
        self._sum.update(line if line.endswith(b"\n") else line + b"\n")
        self.count += 1
        if (entry.day + 1) * DAY <= self._earliest:
            self.expired += 1
        else:
            self._judge(entry)
            yield entry

    def finish(self) -> None:
        """All lines have been read.

        Raises:
            InvalidInputError: the last of them are missing.
        """
        if not self._ended:
            raise InvalidInputError(
                f"the revocations end after line {self._number}, before their last line",
                remedy="what was read is joined, which is harmless; export them again",
            )

    def _begin(self, line: bytes) -> None:
        head = unsealed(line)
        if head is None or "revocations" not in head:
            raise InvalidInputError(
                "this is no export of revocations", remedy="write one with `tokens export`"
            )
        if head["revocations"] != FORMAT:
            raise InvalidInputError(
                f"the export's format is not {FORMAT}: here its digests would name nobody",
                remedy="use the version that wrote it, or revoke anew; nothing was done",
            )
        if head.get("key") != self._fingerprint:
            raise InvalidInputError(
                "the revocations were digested with another key: here they would name nobody",
                remedy="use the ARAGORA_DIGEST_KEY of where they were exported; nothing was done",
            )

    def _end(self, line: bytes) -> None:
        end = unsealed(line)
        if end is None or "sha256" not in end:
            raise self._bad("it is not as it was written")
        if (end.get("count"), end["sha256"]) != (self.count, self._sum.hexdigest()):
            raise self._bad("lines before it are missing, or were added")
        self._ended = True

    def _judge(self, entry: Entry) -> None:
        if entry.day > self._latest // DAY + FARTHEST:
            raise self._bad("it would be kept for more than ten years")
        note = Note.read(entry.note)
        outlasts = entry.day > entry.score // 1000 // DAY
        is_cut_off = note.is_cut_off or (note.kind is None and outlasts)
        ahead = entry.score / 1000 > self._latest + self._skew
        if is_cut_off and ahead and not is_pardon(entry.score):
            raise self._bad("its cut-off lies in the future: it would refuse all logins until then")

    def _bad(self, why: str) -> InvalidInputError:
        return InvalidInputError(
            f"line {self._number} of the revocations: {why}",
            remedy="what was read before it is joined, which is harmless; export them again",
        )
