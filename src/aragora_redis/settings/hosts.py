"""Names that a file of ours knows, before anybody else is asked for their addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from ..errors import SettingsError


class Hosts(Struct, frozen=True):
    """A file as /etc/hosts: an address and its names on each line, `#` begins a comment.

    For a tunnel to a server whose certificate carries its name, or a name that DNS has elsewhere.
    """

    path: Path

    def addresses(self, name: str) -> tuple[str, ...]:
        """The addresses of a name, in the order of the file; empty where it does not name it.

        The file is read again at each call: a name may move.

        Raises:
            SettingsError: the file cannot be read, or a line is not one of such a file.
        """
        sought = name.rstrip(".").lower()
        return tuple(address for address, names in self._lines() if sought in names)

    def _lines(self) -> Iterator[tuple[str, list[str]]]:
        for number, line in enumerate(self._text().splitlines(), 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            try:
                ipaddress.ip_address(words[0])
            except ValueError:
                raise SettingsError(
                    f"line {number} of {self.path} does not begin with an address",
                    remedy="write lines as in /etc/hosts, an address and its names, or check "
                    "ARAGORA_REDIS_HOSTS_FILE",
                ) from None
            yield words[0], [word.rstrip(".").lower() for word in words[1:]]

    def _text(self) -> str:
        remedy = "check ARAGORA_REDIS_HOSTS_FILE"
        try:
            return self.path.read_bytes().decode()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise SettingsError(f"{self.path} cannot be read: {reason}", remedy=remedy) from None
        except UnicodeDecodeError:
            raise SettingsError(f"{self.path} is not UTF-8 text", remedy=remedy) from None


def dialed(hosts: Hosts | None, name: str) -> str:
    """What to connect to for a name: its first address in the file, else the name itself.

    Raises:
        SettingsError: the file cannot be used.
    """
    known = hosts.addresses(name) if hosts is not None else ()
    return known[0] if known else name
