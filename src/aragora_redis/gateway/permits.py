"""Permits that leave the process: sealed for their circuit, and taken back once.

A permit of a closed circuit is the same for all calls, so without a seal whoever may report could
make results up, or bring those of one circuit to another; and a report that is sent twice counts
twice.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict

from ..circuit.permit import Permit
from ..clock import Clock
from ..errors import InvalidInputError

TAKEN = 8192
"""Reports that are known again here."""
LONGEST_CALL = 86_400.0
"""Seconds after which a permit is kept no more."""
_SEAL = "sha256"
_SEAL_DIGITS = 24


class Permits:
    """Seals permits with the fleet's key, so that any gateway opens what another has given."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock
        self._taken: OrderedDict[str, None] = OrderedDict()

    def seal(self, circuit: str, permit: Permit) -> str:
        """What the caller of `acquire` gets."""
        text = f"{permit}.{int(self._clock.wall())}.{secrets.token_hex(8)}"
        return f"{text}.{self._seal(circuit, text)}"

    def open(self, circuit: str, text: str) -> Permit:
        """The permit of a sealed text.

        Raises:
            InvalidInputError: no gateway of this fleet has given it for this circuit.
        """
        return self._opened(circuit, text)[0]

    def open_to_keep(self, circuit: str, text: str) -> Permit | None:
        """The same of a call that goes on; None where it has ended here, or must be over by now.

        Raises:
            InvalidInputError: no gateway of this fleet has given it for this circuit.
        """
        permit, given_at = self._opened(circuit, text)
        over = text in self._taken or self._clock.wall() - given_at > LONGEST_CALL
        return None if over else permit

    def _opened(self, circuit: str, text: str) -> tuple[Permit, int]:
        body, _, seal = text.rpartition(".")
        if not text.isascii() or not hmac.compare_digest(seal, self._seal(circuit, body)):
            raise InvalidInputError(
                "this is no permit of this circuit", remedy="send what acquire has answered"
            )
        permit, given_at, _ = body.rsplit(".", 2)
        return Permit.parse(permit), int(given_at)

    def take(self, text: str) -> bool:
        """Take a report in; False where it was taken in here before."""
        if text in self._taken:
            return False
        self._taken[text] = None
        if len(self._taken) > TAKEN:
            self._taken.popitem(last=False)
        return True

    def _seal(self, circuit: str, text: str) -> str:
        message = f"permit {circuit} {text}".encode()
        return hmac.new(self._key, message, _SEAL).hexdigest()[:_SEAL_DIGITS]
