"""Where a credential comes from."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Protocol

from msgspec import Struct

from ..errors import AragoraRedisError, SettingsError
from ..extras import installing
from ..settings import Credentials, Secret


class Credential(Struct, frozen=True):
    """What is presented with AUTH.

    Attributes:
        username: None is Redis's `default` user.
        secret: None presents nothing.
        expires_at: Unix seconds after which nobody takes it any more; None where it lasts.
    """

    username: str | None = None
    secret: Secret | None = None
    expires_at: float | None = None

    def words(self) -> tuple[str, ...]:
        """The arguments of AUTH, in clear."""
        secret = () if self.secret is None else (self.secret.reveal(),)
        return secret if self.username is None else (self.username, *secret)


class Source(Protocol):
    """Has a credential for us."""

    blocks: bool
    """Whether `issue` asks somebody over the network, for seconds perhaps."""

    def issue(self) -> Credential:
        """The credential to present from now on.

        Raises:
            SettingsError: the settings, or the environment of the issuer's library, do not do.
            LinkDownError: the issuer cannot be reached, or refuses.
        """


class Given:
    """The password of the settings, or of a file that is read each time."""

    blocks = False

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def issue(self) -> Credential:
        """What the settings, or the file, say now."""
        return Credential(self._credentials.username, self._credentials.password())


_ISSUERS = {
    "aws-iam": ("aws", "botocore"),
    "gcp-iam": ("gcp", "google.auth"),
    "azure-entra": ("azure", "azure.identity"),
}
"""For each way the module here, whose name the extra has too, and the library that it stands on."""


def source_of(credentials: Credentials) -> Source:
    """The source that the settings ask for.

    Raises:
        SettingsError: the library of the issuer is not installed.
    """
    if credentials.auth == "password":
        return Given(credentials)
    extra, library = _ISSUERS[credentials.auth]
    try:
        import_module(library)
    except ImportError:
        raise SettingsError(
            f"ARAGORA_REDIS_AUTH is {credentials.auth}, and {library} is not installed",
            remedy=installing(extra),
        ) from None
    return _Issued(credentials, import_module(f".{extra}", __package__).Issuer)


class _Issued:
    """An issuer, whose library may raise anything where the environment is not what it expects."""

    blocks = True

    def __init__(self, credentials: Credentials, issuer: Callable[[Credentials], Source]) -> None:
        self._credentials = credentials
        self._issuer = issuer
        self._made: Source | None = None

    def issue(self) -> Credential:
        """What the issuer says; its errors without their text, which may hold anything."""
        try:
            if self._made is None:
                self._made = self._issuer(self._credentials)
            return self._made.issue()
        except AragoraRedisError:
            raise
        except Exception as error:  # noqa: BLE001 - see above
            raise SettingsError(
                f"{self._credentials.auth} gives no credential: {type(error).__name__}",
                remedy="check what its library reads: environment, profile, files",
            ) from None
