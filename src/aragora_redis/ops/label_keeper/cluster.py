"""The two calls to Kubernetes: list the pods, and label one."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
import msgspec

from ...address import Address
from ...errors import AragoraRedisError, InvalidInputError, Ran, SettingsError
from .labels import Patch, Pod

SELECTOR = "app=redis"
DEADLINE = 3.0
"""Seconds for one call, from the connection to the end of the answer."""
MOST_BYTES = 16 * 1024 * 1024
MOST_PATIENCE = 60.0
"""Seconds that a Retry-After is followed at most."""

_AGENT = "aragora-redis-label-keeper"
_REMEDIES = {
    401: "the token is read anew at each call: check the ServiceAccount of the pod",
    403: "bind the Role of label-keeper.yaml to the ServiceAccount of the pod",
}


class ClusterError(AragoraRedisError):
    """Kubernetes did not do what it was asked to.

    Attributes:
        ran: `Ran.UNKNOWN` where a write may still be done.
        retry_after: seconds that it wants to be left alone.
    """

    def __init__(
        self, message: str, *, ran: Ran = Ran.NO, remedy: str = "", retry_after: float = 0.0
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.ran = ran
        self.retry_after = retry_after


class _Metadata(msgspec.Struct, rename="camel"):
    name: str
    resource_version: str
    labels: dict[str, str] | None = None


class _Ip(msgspec.Struct):
    ip: str = ""


class _Status(msgspec.Struct):
    ip: str = msgspec.field(default="", name="podIP")
    ips: list[_Ip] | None = msgspec.field(default=None, name="podIPs")


class _Item(msgspec.Struct):
    metadata: _Metadata
    status: _Status


class _PodList(msgspec.Struct):
    items: list[_Item]


@dataclass(frozen=True, slots=True)
class Cluster:
    """The API server of the cluster that this pod runs in."""

    url: str
    namespace: str
    directory: Path
    """Holds `token` and `ca.crt`, which change while we run."""

    @classmethod
    def around(cls, environ: Mapping[str, str], directory: Path) -> Cluster:
        """As Kubernetes tells every pod.

        Raises:
            SettingsError: this is no pod, or one without the token of a ServiceAccount.
        """
        try:
            where = [environ[f"KUBERNETES_SERVICE_{part}"] for part in ("HOST", "PORT")]
            address = Address.parse("[{}]:{}".format(*where), default_port=443)
            namespace = (directory / "namespace").read_text("utf-8").strip()
        except KeyError as error:
            raise _no_pod(f"{error.args[0]} is not set") from None
        except InvalidInputError as error:
            raise _no_pod(error.message) from None
        except OSError as error:
            raise _no_pod(f"{directory / 'namespace'}: {error.strerror}") from None
        return cls(f"https://{address}", namespace, directory)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A connection for a few calls.

        One that was kept could be dead, or trust a `ca.crt` of before.
        """
        async with httpx.AsyncClient(
            base_url=f"{self.url}/api/v1/namespaces/{quote(self.namespace, safe='')}/",
            verify=self._trust(),
            headers={"User-Agent": _AGENT, "Accept": "application/json"},
            timeout=None,  # noqa: S113 - DEADLINE bounds a call as a whole
            trust_env=False,
        ) as client:
            yield Session(client, self.directory / "token")

    def _trust(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=str(self.directory / "ca.crt"))
        except OSError as error:
            raise ClusterError(f"{self.directory / 'ca.crt'} cannot be used: {error}") from None
        # From 3.13 on Python wants extensions that the authorities of many clusters do not have.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


def _no_pod(why: str) -> SettingsError:
    return SettingsError(
        f"the label keeper runs in a pod of Kubernetes with a ServiceAccount: {why}",
        remedy="deploy k8s/redis/keeper/label-keeper.yaml",
    )


class Session:
    """A few calls."""

    def __init__(self, client: httpx.AsyncClient, token: Path) -> None:
        self._client = client
        self._token_file = token

    async def pods(self) -> list[Pod]:
        """The pods of Redis, as they are now.

        Raises:
            ClusterError: it does not tell.
        """
        said = await self._call(
            "list pods",
            self._client.build_request("GET", "pods", params={"labelSelector": SELECTOR}),
        )
        try:
            items = msgspec.json.decode(said, type=_PodList).items
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise ClusterError("list pods: the API server answers no list of pods") from None
        return [_pod(item) for item in items]

    async def label(self, patch: Patch) -> None:
        """Write one label.

        Raises:
            ClusterError: it was not written, or nobody knows.
        """
        change = {"resourceVersion": patch.version, "labels": {"role": patch.role}}
        request = self._client.build_request(
            "PATCH",
            f"pods/{quote(patch.pod, safe='')}",
            params={"fieldManager": _AGENT},
            content=msgspec.json.encode({"metadata": change}),
            headers={"Content-Type": "application/merge-patch+json"},
        )
        await self._call(f"label {patch.pod}", request)

    async def _call(self, what: str, request: httpx.Request) -> bytes:
        request.headers["Authorization"] = f"Bearer {self._token()}"
        try:
            async with asyncio.timeout(DEADLINE):
                answer = await self._client.send(request, stream=True)
                try:
                    body = await _read(answer)
                finally:
                    await answer.aclose()
        except TimeoutError:
            raise ClusterError(
                f"{what}: the API server does not answer within {DEADLINE:g} s", ran=Ran.UNKNOWN
            ) from None
        except httpx.ConnectError as error:
            raise ClusterError(f"{what}: no connection to the API server: {error}") from None
        except httpx.HTTPError as error:
            # Not its cause: the request holds the token.
            raise ClusterError(
                f"{what}: the API server breaks off: {error or type(error).__name__}",
                ran=Ran.UNKNOWN,
            ) from None
        if not answer.is_success:
            raise _refusal(what, answer)
        if body is None:
            raise ClusterError(f"{what}: the API server answers too much", ran=Ran.UNKNOWN)
        return body

    def _token(self) -> str:
        try:
            token = self._token_file.read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise ClusterError(f"{self._token_file} cannot be read: {why}") from None
        if not token or not token.isascii() or not token.isprintable():
            raise ClusterError(f"{self._token_file} holds no token")
        return token


async def _read(answer: httpx.Response) -> bytes | None:
    """All of an answer; None where that is too much."""
    body = bytearray()
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > MOST_BYTES:
            return None
    return bytes(body)


def _refusal(what: str, answer: httpx.Response) -> ClusterError:
    status = answer.status_code
    after = answer.headers.get("Retry-After", "")
    return ClusterError(
        f"{what}: the API server answers {status} {answer.reason_phrase}".rstrip(),
        ran=Ran.NO if 400 <= status < 500 else Ran.UNKNOWN,
        remedy=_REMEDIES.get(status, ""),
        retry_after=min(float(after), MOST_PATIENCE) if after.isdecimal() else 0.0,
    )


def _pod(item: _Item) -> Pod:
    ips = {item.status.ip, *(each.ip for each in item.status.ips or ())} - {""}
    metadata = item.metadata
    role = (metadata.labels or {}).get("role")
    return Pod(metadata.name, metadata.resource_version, role, frozenset(ips))
