"""How connections are encrypted, and how far the server's certificate is checked."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

from msgspec import Struct

from ..clock import SYSTEM_CLOCK, Clock
from ..errors import SettingsError
from .files import reason_unreadable

Verify = Literal["full", "ca", "none"]

_CA = "ARAGORA_REDIS_TLS_CA"
_CERT = "ARAGORA_REDIS_TLS_CERT"
_KEY = "ARAGORA_REDIS_TLS_KEY"


class Tls(Struct, frozen=True):
    """TLS for connections to Redis or to Sentinels.

    Attributes:
        ca: PEM file of the authorities to trust; None trusts those of the system.
        cert: PEM file of the client's certificate, for servers that ask for one.
        key: PEM file of its key; None where `cert` holds the key too.
        verify: `full` checks chain and host name, `ca` the chain alone, `none` nothing.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    verify: Verify = "full"

    def context(self, clock: Clock = SYSTEM_CLOCK) -> ssl.SSLContext:
        """A new context. The files are read now, so renewed certificates are used from here on.

        Raises:
            SettingsError: a file is missing, unreadable, not PEM, encrypted or expired, or the
                key does not belong to the certificate.
        """
        if self.ca is not None:
            context = _trusting(self.ca, clock.wall())
        else:
            context = ssl.create_default_context()
        if self.cert is not None:
            _present(context, self.cert, self.key)
        context.check_hostname = self.verify == "full"
        if self.verify == "none":
            context.verify_mode = ssl.CERT_NONE
        return context


def _trusting(ca: Path, now: float) -> ssl.SSLContext:
    _demand_readable(ca, _CA)
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        raise SettingsError(
            f"{ca} holds no PEM certificate", remedy=f"point {_CA} to the authority's certificate"
        ) from None
    ends = [ssl.cert_time_to_seconds(str(each["notAfter"])) for each in context.get_ca_certs()]
    # A bundle may carry retired authorities; only one that is all retired can verify nothing.
    if ends and max(ends) <= now:
        raise SettingsError(
            f"every certificate in {ca} has expired", remedy=f"point {_CA} to a current one"
        )
    return context


def _present(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    _demand_readable(cert, _CERT)
    if key is not None:
        _demand_readable(key, _KEY)
    try:
        context.load_cert_chain(cert, key, password=_refuse_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingsError(
                f"the key in {key or cert} does not belong to the certificate in {cert}",
                remedy=f"give {_CERT} and {_KEY} of one pair",
            ) from None
        raise SettingsError(
            f"{cert} and {key or cert} do not hold a PEM certificate and its key",
            remedy=f"check {_CERT} and {_KEY}",
        ) from None


def _demand_readable(path: Path, variable: str) -> None:
    if reason := reason_unreadable(path):
        raise SettingsError(f"{path} cannot be read: {reason}", remedy=f"check {variable}")


def _refuse_passphrase() -> str:
    # Without this, OpenSSL would stop a service to ask for the passphrase on a terminal.
    raise SettingsError(
        "the client's key is encrypted", remedy=f"give {_KEY} a key without a passphrase"
    )
