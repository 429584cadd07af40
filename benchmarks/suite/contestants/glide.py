"""valkey-glide: the script by hand, on its Rust core."""

from __future__ import annotations

from contextlib import asynccontextmanager

from glide import GlideClient, GlideClientConfiguration, NodeAddress, Script, ServerCredentials

from ..drive import Opening, Parameters, by_callers
from ..target import Target

PACKAGES = ("valkey-glide",)


@asynccontextmanager
async def check(target: Target, parameters: Parameters) -> Opening:
    """Its client as it comes, but for a deadline that a busy machine does not miss."""
    client = await GlideClient.create(
        GlideClientConfiguration(
            [NodeAddress(target.host, target.port)],
            credentials=ServerCredentials(target.password),
            request_timeout=5_000,
        )
    )
    script, arguments = Script(target.script), list(target.arguments)

    async def one(number: int) -> None:
        await client.invoke_script(script, keys=[target.key(number)], args=arguments)

    try:
        yield by_callers(one, parameters["callers"])
    finally:
        await client.close()


TASKS = {"check": check}
