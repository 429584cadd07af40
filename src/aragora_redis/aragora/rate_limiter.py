"""Rate limits of Aragora, counted for all instances at once.

Aragora has two faces for them, and makes the buckets of both in one class: the registry behind its
`ServiceRegistry`, and the distributed limiter that its decorators use. Whose bucket a request falls
into stays Aragora's decision; only the buckets are ours.
"""

from __future__ import annotations

import secrets
from importlib import import_module
from typing import Any

from ..rate_limit.gcra import Decision, Source
from .limits import limit_name
from .seam import Finding, Where
from .shared import Shared
from .versions import Checked


class SharedBucket:
    """One bucket for one request, as Aragora's `TokenBucket` is used.

    Args:
        inner: the bucket in this process's memory, where nobody else can decide.
    """

    def __init__(self, shared: Shared, policy: str | None, subject: str, inner: Any) -> None:
        self._shared = shared
        self._policy = policy
        self._subject = subject
        self._inner = inner
        self._decision: Decision | None = None

    def consume(self, tokens: int = 1) -> bool:
        """Take tokens, if they are there."""
        if self._policy is not None and tokens > 0:
            self._decision = self._shared.take(self._policy, self._subject, tokens)
        if self._decision is not None:
            return self._decision.allowed
        return bool(self._inner.consume(tokens))

    def get_retry_after(self) -> float:
        """Seconds until the next token."""
        if self._decision is not None:
            return self._decision.retry_after
        return float(self._inner.get_retry_after())

    @property
    def remaining(self) -> int:
        """Tokens left."""
        return self._decision.remaining if self._decision is not None else self._inner.remaining


def shared_limiter(base: type[Any]) -> type[Any]:
    """Aragora's `RateLimiter`, with buckets that all instances share."""

    class SharedRateLimiter(base):  # type: ignore[misc] # a class that is known when it runs
        # What the distributed limiter asks of a limiter on Redis:
        _circuit_breaker = None
        _enable_distributed_metrics = False

        def __init__(self, shared: Shared, name: str, **limits: int) -> None:
            super().__init__(**limits)
            self._shared = shared
            self._name = name

        def _get_or_create_ip_bucket(self, ip: str) -> SharedBucket:
            return self._bucket("ip", ip, super()._get_or_create_ip_bucket(ip))

        def _get_or_create_token_bucket(self, token: str, config: Any) -> SharedBucket:
            inner = super()._get_or_create_token_bucket(token, config)
            return self._bucket("token", token, inner)

        def _get_or_create_tenant_bucket(self, tenant_id: str, config: Any) -> SharedBucket:
            inner = super()._get_or_create_tenant_bucket(tenant_id, config)
            return self._bucket("tenant", tenant_id, inner)

        def _get_or_create_endpoint_bucket(
            self, endpoint: str, key: str, config: Any
        ) -> SharedBucket:
            inner = super()._get_or_create_endpoint_bucket(endpoint, key, config)
            return self._bucket(f"endpoint:{endpoint}", key, inner)

        def _bucket(self, kind: str, key: str, inner: Any) -> SharedBucket:
            policy = limit_name(int(inner.rate_per_minute), int(inner.burst_size))
            return SharedBucket(self._shared, policy, f"{self._name}:{kind}:{key}", inner)

    return SharedRateLimiter


def shared_registry(base: type[Any], limiter: type[Any], shared: Shared) -> type[Any]:
    """Aragora's `RateLimiterRegistry`, whose limiters are shared ones."""

    class SharedRegistry(base):  # type: ignore[misc] # a class that is known when it runs
        def get_default(self) -> Any:
            made = super().get_default()
            if not isinstance(made, limiter):
                self._default_limiter = self._like(made, "_default")
            return self._default_limiter

        def get(self, name: str, *args: Any, **kwargs: Any) -> Any:
            made = super().get(name, *args, **kwargs)
            if not isinstance(made, limiter):
                self._limiters[name] = self._like(made, name)
            return self._limiters[name]

        def _like(self, made: Any, name: str) -> Any:
            like = limiter(shared, name, default_limit=made.default_limit, ip_limit=made.ip_limit)
            like._endpoint_configs.update(made._endpoint_configs)  # noqa: SLF001 - the seam
            return like

    return SharedRegistry


class RateLimiters:
    """The seam."""

    feature = "rate limiters"
    checked = Checked("2.11", "2.12")

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._limiter: type[Any] = object

    def install(self) -> None:
        """Have the registry and the distributed limiter make shared limiters."""
        limiter = import_module("aragora.server.middleware.rate_limit.limiter")
        registry = import_module("aragora.server.middleware.rate_limit.registry")
        distributed = import_module("aragora.server.middleware.rate_limit.distributed")
        services = import_module("aragora.services").ServiceRegistry.get()
        self._limiter = shared_limiter(limiter.RateLimiter)
        services.register_factory(
            registry.RateLimiterRegistry,
            shared_registry(registry.RateLimiterRegistry, self._limiter, self._shared),
        )
        # The decorators hold this very object, so that it is given another heart.
        single = distributed.get_distributed_limiter()
        single._redis_limiter = self._limiter(self._shared, "distributed")  # noqa: SLF001 - the seam
        single._memory_limiter = limiter.RateLimiter()  # noqa: SLF001 - the seam
        single._using_redis = single._initialized = True  # noqa: SLF001 - the seam

    def verify(self) -> Finding:
        """Take one of ten by each face, and see our bucket with one less."""
        registry = import_module("aragora.server.middleware.rate_limit.registry")
        distributed = import_module("aragora.server.middleware.rate_limit.distributed")
        whom = f"self-check-{secrets.token_hex(8)}"
        endpoint = "/aragora-redis-self-check"
        faces = {
            "RateLimiterRegistry": registry.get_rate_limiter("aragora-redis-self-check", 10),
            "DistributedRateLimiter": distributed.get_distributed_limiter(),
        }
        names = {
            "RateLimiterRegistry": "aragora-redis-self-check",
            "DistributedRateLimiter": "distributed",
        }
        for face, limiter in faces.items():
            limiter.configure_endpoint(endpoint, 10, 10, "combined")
            limiter.allow(whom, endpoint=endpoint)
            subject = f"{names[face]}:endpoint:{endpoint}:{whom}"
            left = self._shared.look(limit_name(10, 10) or "", subject)
            if left is None or left.source is not Source.REDIS:
                detail = f"{face}: each instance decides for itself"
                return Finding(self.feature, Where.UNSEEN, detail)
            if left.remaining != 9:
                return Finding(self.feature, Where.MEMORY, f"{face} counts for itself")
        return Finding(self.feature, Where.REDIS, " and ".join(faces))
