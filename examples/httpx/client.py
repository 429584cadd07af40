"""Asks another service, at the pace of the whole fleet, and spares it while it fails."""

from __future__ import annotations

import asyncio
import os
import sys

import httpx

from aragora_redis import CircuitOpenError, LimitExceededError, SharedState
from aragora_redis.web.httpx import CircuitTransport, LimitTransport

UPSTREAM = os.environ.get("EXAMPLE_UPSTREAM", "http://localhost:9000")


async def ask(client: httpx.AsyncClient) -> str:
    try:
        response = await client.get("/")
    except LimitExceededError as error:  # nothing was sent
        await asyncio.sleep(error.retry_after)
        return f"too many requests here, or said to wait: {error.retry_after:.1f} s"
    except CircuitOpenError as error:  # nothing was sent
        await asyncio.sleep(error.retry_after)
        return f"spared for {error.retry_after:.1f} s"
    except httpx.TransportError as error:
        return f"failed: {type(error).__name__}"
    return str(response.status_code)


async def main(calls: int) -> None:
    async with SharedState.from_env() as state:
        # A call waits for at most two seconds: for its token, or as long as the service has said.
        spared = CircuitTransport(state.circuits)
        limited = LimitTransport(state.rate_limits, "partner", wait=2, transport=spared)
        async with httpx.AsyncClient(transport=limited, base_url=UPSTREAM) as client:
            for _ in range(calls):
                sys.stdout.write(await ask(client) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
