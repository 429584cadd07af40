"""Who we are to Redis or to a Sentinel."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from msgspec import Struct

from . import names
from .files import secret_in
from .secret import Secret

Auth = Literal["password", "aws-iam", "gcp-iam", "azure-entra"]


class AwsCache(Struct, frozen=True):
    """Which cache of ElastiCache a token of AWS IAM is for.

    Attributes:
        name: of the replication group, or of the serverless cache.
        serverless: which of the two it is.
    """

    name: str
    serverless: bool = False


class Credentials(Struct, frozen=True):
    """A user's name, and what proves it.

    Attributes:
        username: None is Redis's `default` user, or for `azure-entra` whom the token is for.
        secret: the password as a value,
        password_file: or as a file that is read again and again.
        auth: `password`, or who issues tokens that are presented instead of one.
        cache: for `aws-iam`.
    """

    username: str | None = None
    secret: Secret | None = None
    password_file: Path | None = None
    auth: Auth = "password"
    cache: AwsCache | None = None

    def password(self) -> Secret | None:
        """The password to connect with now; None where none is configured.

        The file is read again at each call, so that a rotated password is used from the next
        connection on. One line break at its end is not part of the password.

        Raises:
            SettingsError: the file cannot be read, is empty, is not UTF-8, or was never filled in.
        """
        if self.password_file is None:
            return self.secret
        return secret_in(self.password_file, "password", names.PASSWORD_FILE)


ANONYMOUS = Credentials()
