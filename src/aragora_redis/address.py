"""Where a server listens."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple, Self

from .errors import InvalidInputError

MAX_PORT = 65535


class Address(NamedTuple):
    """A TCP endpoint. Prints as `host:port`, with brackets around an IPv6 address."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, default_port: int) -> Self:
        """Read `host`, `host:port`, `[v6]` or `[v6]:port`.

        Raises:
            InvalidInputError: the text is none of these, or the port is not 1 to 65535.
        """
        text = text.strip()
        if text.startswith("["):
            host, bracket, rest = text[1:].partition("]")
            if not bracket or (rest and not rest.startswith(":")):
                raise InvalidInputError(f"{text!r} is not host:port")
            port_text = rest[1:]
        elif text.count(":") > 1:
            host, port_text = text, ""
        else:
            host, _, port_text = text.partition(":")
        strange = any(char.isspace() or char in "/@[]" for char in host)
        if not host or strange or (":" in host and is_name(host)):
            raise InvalidInputError(f"{text!r} is not host:port")
        if not port_text and not text.endswith(":"):
            return cls(host, default_port)
        # The length is checked first: int() refuses absurdly long numbers with an error of its own.
        digits = port_text if port_text.isascii() and port_text.isdigit() else ""
        if not 0 < len(digits) <= 5 or not 1 <= int(digits) <= MAX_PORT:
            raise InvalidInputError(f"the port of {text!r} is not a number from 1 to {MAX_PORT}")
        return cls(host, int(digits))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def is_name(host: str) -> bool:
    """Whether it is a name and no network address: it may lead to another server tomorrow."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False
