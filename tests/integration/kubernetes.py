"""An API server of Kubernetes, as far as the label keeper knows one, over TLS on loopback.

It lists pods by label and takes merge patches with a `resourceVersion`, as the real one does; and
it does badly what a test tells it to.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from collections.abc import Awaitable, Callable

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.integration.certificates import self_signed
from tests.integration.fleet import until
from tests.ports import free_port

NAMESPACE = "aragora"
ROOT = f"/api/v1/namespaces/{NAMESPACE}/pods"


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):
        yield


class FakeKubernetes:
    """Pods, everything that was asked, and every state that the labels were in."""

    def __init__(self, directory):
        self.account = directory
        self_signed(directory)
        (directory / "cert.pem").rename(directory / "ca.crt")
        (directory / "namespace").write_text(NAMESPACE)
        self.token = ""
        self.rotate("token-1")
        self.port = free_port()
        self.pods = {}
        self.version = 0
        self.asked = []
        self.history = []
        self.fault: Callable[[Request], Awaitable[Response | None]] | None = None
        """Answers instead; None where it lets the request pass."""
        self._app = Starlette(
            routes=[
                Route(ROOT, self._list, methods=["GET"]),
                Route(f"{ROOT}/{{name}}", self._patch, methods=["PATCH"]),
            ]
        )
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def env(self):
        """What leads a pod to it."""
        return {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self.port),
        }

    def rotate(self, token):
        """The kubelet has written a new token; the old one is taken until the new one is used."""
        self.token, self.old_token = token, self.token
        (self.account / "token").write_text(token)

    async def start(self):
        config = uvicorn.Config(
            self._app,
            host="127.0.0.1",
            port=self.port,
            log_config=None,
            log_level="critical",
            lifespan="off",
            ssl_keyfile=self.account / "key.pem",
            ssl_certfile=self.account / "ca.crt",
            timeout_graceful_shutdown=0,
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve())
        await until(lambda: self._server.started)

    async def stop(self):
        """Refuse connections, and end those that there are."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
            self._server = None

    # --- pods -------------------------------------------------------------------------------

    def make(self, name, ip, **labels):
        """Make a pod, or make it anew: it has the labels of its template."""
        self.version += 1
        self.pods[name] = {
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "labels": labels or {"app": "redis"},
                "resourceVersion": str(self.version),
            },
            "spec": {"containers": [{"name": "redis"}]},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
        }
        self._note()

    @property
    def roles(self):
        """The label `role` of each pod of Redis, by name."""
        pods = self.pods.values()
        labels = {pod["metadata"]["name"]: pod["metadata"]["labels"] for pod in pods}
        return {name: has.get("role") for name, has in labels.items() if has["app"] == "redis"}

    def masters(self):
        return [name for name, role in self.roles.items() if role == "master"]

    @property
    def patches(self):
        """How many writes were asked for."""
        return sum(method == "PATCH" for method, _ in self.asked)

    def _note(self):
        self.history.append(self.roles)

    # --- requests ---------------------------------------------------------------------------

    async def _list(self, request):
        refused = await self._refuse(request)
        if refused is not None:
            return refused
        key, _, value = request.query_params["labelSelector"].partition("=")
        found = [pod for pod in self.pods.values() if pod["metadata"]["labels"].get(key) == value]
        return JSONResponse(
            {
                "kind": "PodList",
                "apiVersion": "v1",
                "metadata": {"resourceVersion": str(self.version)},
                "items": found,
            }
        )

    async def _patch(self, request):
        refused = await self._refuse(request)
        if refused is not None:
            return refused
        return self.apply(request.path_params["name"], json.loads(await request.body()))

    async def _refuse(self, request):
        self.asked.append((request.method, request.url.path))
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if given == self.token:
            self.old_token = given
        elif given != self.old_token or not given:
            return status(401, "Unauthorized")
        kind = request.headers.get("Content-Type")
        if request.method == "PATCH" and kind != "application/merge-patch+json":
            return status(415, "UnsupportedMediaType")
        if self.fault is not None:
            with contextlib.suppress(ClientDisconnect):
                return await self.fault(request)
        return None

    def apply(self, name, patch):
        """RFC 7396 on one pod, if it is at the version that the patch names."""
        pod = self.pods.get(name)
        if pod is None:
            return status(404, "NotFound")
        wanted = patch["metadata"].pop("resourceVersion", None)
        if wanted not in (None, pod["metadata"]["resourceVersion"]):
            return status(409, "Conflict")
        after = merge(copy.deepcopy(pod), patch)
        if after != pod:
            self.version += 1
            after["metadata"]["resourceVersion"] = str(self.version)
            self.pods[name] = after
            self._note()
        return JSONResponse(self.pods[name])


def merge(target, patch):
    if not isinstance(patch, dict):
        return patch
    target = target if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = merge(target.get(key), value)
    return target


def status(code, reason, **headers):
    """A refusal as the API server words it."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason}
    return JSONResponse(body | {"code": code}, code, headers)


def answering(code, reason="", **headers):
    """A fault: the same refusal for everything."""

    async def fault(_request):
        return status(code, reason, **headers)

    return fault


async def garbage(_request):
    return Response("<html>sign in to the hotel</html>")


async def hang(_request):
    await asyncio.sleep(3600)
