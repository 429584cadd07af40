"""Access tokens of Google Cloud IAM for Memorystore.

Source: Google Cloud, "About IAM authentication" (Memorystore for Valkey and for Redis Cluster). The
password is an access token of an hour, and the server ends a connection some time after it expires
unless a newer one was presented.
"""

from __future__ import annotations

import datetime as dt

import google.auth
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport.requests import Request

from ..errors import LinkDownError, SettingsError
from ..settings import Credentials, Secret
from .source import Credential

SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class Issuer:
    """Asks with the Application Default Credentials."""

    blocks = True

    def __init__(self, credentials: Credentials) -> None:
        self._username = credentials.username
        self._found: google.auth.credentials.Credentials | None = None

    def issue(self) -> Credential:
        """Fetch a token that is newer than the last."""
        try:
            if self._found is None:
                self._found, _ = google.auth.default(scopes=[SCOPE])
            self._found.refresh(Request())  # type: ignore[no-untyped-call]  # their code
        except DefaultCredentialsError:
            raise SettingsError(
                "Google Cloud knows no credentials of this process",
                remedy="run it with a service account, or set GOOGLE_APPLICATION_CREDENTIALS",
            ) from None
        except GoogleAuthError as error:
            raise LinkDownError(
                f"Google Cloud issues no token: {type(error).__name__}",
                remedy="check the service account, and the way to the metadata server",
            ) from None
        expiry = self._found.expiry
        expires_at = expiry.replace(tzinfo=dt.UTC).timestamp() if expiry is not None else None
        return Credential(self._username, Secret(str(self._found.token)), expires_at)
