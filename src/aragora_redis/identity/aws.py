"""Tokens of AWS IAM for ElastiCache.

Source: Amazon ElastiCache User Guide, "Authenticating with IAM". A token is a request to connect,
signed (Signature Version 4) and never sent; it may be presented for 15 minutes, and a connection
lives for 12 hours after it was presented last.
"""

from __future__ import annotations

import os
from urllib.parse import urlencode

from botocore.exceptions import BotoCoreError, ClientError
from botocore.model import ServiceId
from botocore.session import Session
from botocore.signers import RequestSigner

from ..clock import SYSTEM_CLOCK, Clock
from ..errors import LinkDownError, SettingsError
from ..settings import Credentials, Secret
from .source import Credential

LIFETIME = 900
"""Seconds for which a token may be presented."""


class Issuer:
    """Signs with whatever credentials botocore finds: environment, profile, role of the machine."""

    blocks = True

    def __init__(self, credentials: Credentials, clock: Clock = SYSTEM_CLOCK) -> None:
        if credentials.cache is None or credentials.username is None:
            raise SettingsError(
                "a token of AWS IAM is for a user of one cache",
                remedy="set ARAGORA_REDIS_AWS_CACHE and ARAGORA_REDIS_USERNAME",
            )
        self._username = credentials.username
        self._cache = credentials.cache
        self._clock = clock
        self._session = Session()

    def issue(self) -> Credential:
        """Sign a token; only the credentials to sign with may have to be fetched."""
        # botocore reads AWS_DEFAULT_REGION; where AWS runs code, it sets the other.
        region = self._session.get_config_variable("region") or os.environ.get("AWS_REGION")
        if region is None:
            raise SettingsError("no AWS region is known", remedy="set AWS_REGION")
        query = {"Action": "connect", "User": self._username}
        if self._cache.serverless:
            query["ResourceType"] = "ServerlessCache"
        request = {
            "method": "GET",
            "url": f"https://{self._cache.name}/?{urlencode(query)}",
            "body": {},
            "headers": {},
            "context": {},
        }
        now = self._clock.wall()
        try:
            signer = RequestSigner(
                ServiceId("elasticache"),
                region,
                "elasticache",
                "v4",
                self._session.get_credentials(),
                self._session.get_component("event_emitter"),
            )
            url = signer.generate_presigned_url(
                request, operation_name="connect", expires_in=LIFETIME, region_name=region
            )
        except (BotoCoreError, ClientError) as error:
            raise LinkDownError(
                f"AWS gives no credentials to sign with: {type(error).__name__}",
                remedy="check the role, or AWS_PROFILE, with which this process runs",
            ) from None
        return Credential(self._username, Secret(url.removeprefix("https://")), now + LIFETIME)
