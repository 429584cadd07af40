"""Tokens of Microsoft Entra ID for Azure Managed Redis.

Source: Microsoft, "Use Microsoft Entra for cache authentication with Azure Managed Redis". The user
is the object id of whom the token is for; the server ends a connection when the token that it was
given expires.
"""

from __future__ import annotations

import jwt
from azure.core.exceptions import AzureError
from azure.identity import CredentialUnavailableError, DefaultAzureCredential

from ..errors import LinkDownError, SettingsError
from ..settings import Credentials, Secret
from .source import Credential

SCOPE = "https://redis.azure.com/.default"


class Issuer:
    """Asks with what DefaultAzureCredential finds: environment, workload or managed identity."""

    blocks = True

    def __init__(self, credentials: Credentials) -> None:
        self._username = credentials.username
        self._found = DefaultAzureCredential()

    def issue(self) -> Credential:
        """Fetch a token, or the present one while most of its time is left."""
        try:
            token = self._found.get_token(SCOPE)
        except CredentialUnavailableError:
            raise SettingsError(
                "Azure knows no identity of this process",
                remedy="give it a managed identity, or set AZURE_CLIENT_ID and what goes with it",
            ) from None
        except AzureError as error:
            raise LinkDownError(
                f"Microsoft Entra issues no token: {type(error).__name__}",
                remedy="check the identity, and the way to its endpoint",
            ) from None
        return Credential(
            self._username or _object_id(token.token),
            Secret(token.token),
            float(token.expires_on),
        )


def _object_id(token: str) -> str:
    """Whom a token is for. Only the server can tell whether that is true."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        return str(claims["oid"])
    except (jwt.InvalidTokenError, KeyError):
        raise LinkDownError(
            "Microsoft Entra's token does not tell whom it is for",
            remedy="set ARAGORA_REDIS_USERNAME to the object id of the identity",
        ) from None
