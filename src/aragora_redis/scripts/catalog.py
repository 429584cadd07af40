"""Load the scripts, and hold each to the header that declares its KEYS, ARGV and reply."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

from msgspec import Struct

# `importlib.resources` would bring tempfile, zipfile and all that they need to each start.
_HERE = Path(__file__).parent
_SECTIONS = ("KEYS", "ARGV", "Reply")
_CALL = re.compile(rb"redis\.p?call\(\s*'(\w+)'")


class Script(Struct, frozen=True):
    """A Lua script as Redis knows it.

    Attributes:
        sha: SHA-1 of the source, the name EVALSHA uses.
        writes: it changes data, and takes `not_after` (server microseconds, 0 for never) as its
            first argument; past it the script answers the error `LATE <server microseconds>`.
        batchable: one call may carry several operations, see `Operation`.
    """

    name: str
    source: bytes
    sha: str
    writes: bool
    batchable: bool


class HeaderError(ValueError):
    """A script's header does not declare what it must."""


def parse(name: str, source: str) -> Script:
    """Check a script's header and build its `Script`.

    The header is the leading run of `--` lines. It holds a summary, then the sections `KEYS`,
    `ARGV` and `Reply`, and one line `Traits:` with `read` or `write`, and `batch` where it applies.
    A line `Uses:` names the part (`parts/*.lua`) whose functions stand before its own code.

    Raises:
        HeaderError: a section is missing, or the traits are not understood.
    """
    header = []
    for line in source.splitlines():
        if not line.startswith("--"):
            break
        header.append(line[2:].strip())
    for section in _SECTIONS:
        if not any(line.startswith(f"{section}:") for line in header):
            raise HeaderError(f"{name}: the header has no section {section!r}")
    traits_line = next((line for line in header if line.startswith("Traits:")), None)
    if traits_line is None:
        raise HeaderError(f"{name}: the header has no line 'Traits:'")
    traits = set(re.findall(r"\w+", traits_line.removeprefix("Traits:")))
    if not traits <= {"read", "write", "batch"} or len(traits & {"read", "write"}) != 1:
        raise HeaderError(f"{name}: traits are read or write, and batch; not {sorted(traits)}")
    uses = next((line for line in header if line.startswith("Uses:")), None)
    if uses is not None:
        lines = source.splitlines()
        lines.insert(len(header), _part(uses.removeprefix("Uses:").strip()))
        source = "\n".join(lines)
    encoded = source.encode()
    return Script(
        name=name,
        source=encoded,
        sha=hashlib.sha1(encoded, usedforsecurity=False).hexdigest(),
        writes="write" in traits,
        batchable="batch" in traits,
    )


def _part(name: str) -> str:
    return (_HERE / "parts" / f"{name}.lua").read_text("utf-8")


@cache
def load(name: str) -> Script:
    """The packaged script `name`.lua."""
    return parse(name, (_HERE / f"{name}.lua").read_text("utf-8"))


@cache
def all_scripts() -> tuple[Script, ...]:
    """Every packaged script, in order of name."""
    return tuple(load(name) for name in sorted(path.stem for path in _HERE.glob("*.lua")))


@cache
def commands_used() -> frozenset[str]:
    """The commands that scripts call, in small letters."""
    called = (_CALL.findall(script.source) for script in all_scripts())
    return frozenset(name.decode().lower() for found in called for name in found)
