"""Cut addresses of a lab off from each other: the kernel drops their packets (nftables, root).

What is cut is written down in the lab's directory, and the whole table is made anew from that, so
a cut survives whoever made it and `heal` finds it again.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from ..errors import LabError
from .files import write_private

_NAME = "cuts.json"
_NFT_SECONDS = 10
_ALSO_IN = "/usr/sbin:/sbin"


class Cut(msgspec.Struct, frozen=True):
    """Nothing passes from one side to the other, nor back unless it is one-way."""

    said: str
    """Both sides by name."""
    one: tuple[str, ...]
    other: tuple[str, ...]
    one_way: bool = False


def table_of(network: str) -> str:
    """The name of a lab's table; its network is its own."""
    return f"aragora_lab_{network.replace('.', '_')}"


def cuts_of(directory: Path) -> tuple[Cut, ...]:
    """What is cut in a lab now, by address."""
    try:
        return msgspec.json.decode((directory / _NAME).read_bytes(), type=tuple[Cut, ...])
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LabError(
            f"{directory / _NAME} cannot be read: {error}",
            remedy="remove the file, and the table that `nft list tables` shows",
        ) from error


def add_cut(directory: Path, table: str, cut: Cut) -> None:
    """Cut more, beside what is cut already.

    Raises:
        LabError: this user may not, there is no nft, or the kernel does not do it.
    """
    found = (*cuts_of(directory), cut)
    run_ruleset(ruleset(table, found))
    write_private(directory / _NAME, msgspec.json.encode(found).decode() + "\n")


def heal(directory: Path, table: str) -> tuple[Cut, ...]:
    """Let everything pass again; returns what was cut.

    Raises:
        LabError: this user may not.
    """
    found = cuts_of(directory)
    if found:
        run_ruleset(ruleset(table, ()))
        (directory / _NAME).unlink(missing_ok=True)
    return found


def ruleset(table: str, cuts: Iterable[Cut]) -> str:
    """What nft is told: the table replaced at once, or removed where nothing is cut. Pure."""
    drops = [
        f"ip saddr {_set(sources)} ip daddr {_set(targets)} drop"
        for cut in cuts
        for sources, targets in (
            [(cut.one, cut.other)] if cut.one_way else [(cut.one, cut.other), (cut.other, cut.one)]
        )
    ]
    # Adding before deleting makes the deletion hold whether or not there was a table.
    lines = [f"add table ip {table}", f"delete table ip {table}"]
    if drops:
        hook = "type filter hook input priority 0; policy accept;"
        lines += [f"add table ip {table}", f"add chain ip {table} input {{ {hook} }}"]
        lines += [f"add rule ip {table} input {drop}" for drop in drops]
    return "\n".join(lines) + "\n"


def _set(addresses: Sequence[str]) -> str:
    return "{ " + ", ".join(addresses) + " }"


def run_ruleset(script: str) -> None:
    """Have nft do what `ruleset` says.

    Raises:
        LabError: this user may not, there is no nft, or the kernel does not do it.
    """
    nft = shutil.which("nft") or shutil.which("nft", path=_ALSO_IN)
    if nft is None:
        raise LabError(
            "packets cannot be dropped without the program nft",
            remedy="install the package nftables",
        )
    try:
        done = subprocess.run(  # noqa: S603 - fixed words, on a script that we wrote
            [nft, "-f", "-"],
            input=script,
            capture_output=True,
            text=True,
            timeout=_NFT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise LabError(f"{nft} does not run: {error}", remedy="see whether it works") from error
    if done.returncode:
        said = (done.stderr.strip() or "no reason given").splitlines()[0]
        raise LabError(
            f"packets cannot be dropped: {said}",
            remedy="run this as root, or the whole lab inside: "
            "unshare --user --map-root-user --net",
        )
