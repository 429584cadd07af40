"""At home in httpx: transports that ask a circuit, or keep to a limit, before they make a request.

A limit goes around a circuit, so that a call that waits is not a slow one:

    spared = CircuitTransport(state.circuits)
    limited = LimitTransport(state.rate_limits, "partner", wait=5, transport=spared)
    client = httpx.AsyncClient(transport=limited)
"""

from ...extras import imported_with

with imported_with("httpx", __name__):
    from .circuit import CircuitTransport, SyncCircuitTransport, server_error
    from .hosts import by_host
    from .limit import LimitTransport, SyncLimitTransport

__all__ = [
    "CircuitTransport",
    "LimitTransport",
    "SyncCircuitTransport",
    "SyncLimitTransport",
    "by_host",
    "server_error",
]
