"""TLS towards the programs that connect to the proxy."""

from __future__ import annotations

import ssl

from ..clock import SYSTEM_CLOCK, Clock
from ..errors import SettingsError
from ..settings.files import reason_unreadable
from ..settings.tls import Tls


class Inbound(Tls, frozen=True):
    """The other end of TLS: `cert` and `key` are the proxy's own; with `ca` it asks for theirs."""

    def context(self, clock: Clock = SYSTEM_CLOCK) -> ssl.SSLContext:
        """A new context from the files as they are now.

        Raises:
            SettingsError: a file is missing or unreadable, or holds something else.
        """
        del clock
        for path in (self.cert, self.key, self.ca):
            if path is not None and (reason := reason_unreadable(path)):
                raise SettingsError(
                    f"{path} cannot be read: {reason}",
                    remedy="check --tls-cert, --tls-key and --tls-client-ca",
                )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key, password=_refuse_passphrase)
            if self.ca is not None:
                context.load_verify_locations(self.ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except ssl.SSLError:
            raise SettingsError(
                "the files do not hold a PEM certificate with its key, or an authority",
                remedy="check --tls-cert, --tls-key and --tls-client-ca",
            ) from None
        return context


def _refuse_passphrase() -> str:
    raise SettingsError(
        "the proxy's key is encrypted", remedy="give --tls-key a key without a passphrase"
    )
