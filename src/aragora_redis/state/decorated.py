"""What a decorator makes of a function: its kind, and streams that are followed to their end."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial, wraps
from typing import Any, Literal, ParamSpec, TypeVar

from ..errors import InvalidInputError

P = ParamSpec("P")
C = TypeVar("C")
Y = TypeVar("Y")
S = TypeVar("S")

Kind = Literal["function", "generator", "async function", "async generator", "unknown"]


def kind_of(work: Callable[..., Any]) -> Kind:
    """What calling it gives; of an object that merely can be called that may be unknown."""
    for each in (work, type(work).__call__):
        if inspect.isasyncgenfunction(each):
            return "async generator"
        if inspect.iscoroutinefunction(each):
            return "async function"
        if inspect.isgeneratorfunction(each):
            return "generator"
    while isinstance(work, partial):
        work = work.func
    return "function" if inspect.isfunction(work) or inspect.ismethod(work) else "unknown"


def asynchronous(work: Callable[..., Any]) -> Kind:
    """The kind of what an event loop's decorator is put on.

    Raises:
        InvalidInputError: it would hold up the loop. What wraps an async function may be a plain
            one that returns its coroutine.
    """
    kind = kind_of(work)
    if kind == "function" and kind_of(inspect.unwrap(work)) == "async function":
        return "async function"
    if kind in {"function", "generator"}:
        raise InvalidInputError(
            f"a decorator of async functions is put on a plain {kind}",
            remedy="make it `async def`, or decorate it with aragora_redis.sync, for threads",
        )
    return kind


def threaded(work: Callable[..., Any]) -> Kind:
    """The kind of what a decorator for threads is put on.

    Raises:
        InvalidInputError: it is for an event loop, and returns before its work has begun.
    """
    kind = kind_of(work)
    if kind in {"async function", "async generator"}:
        raise InvalidInputError(
            f"a decorator for threads is put on an {kind}",
            remedy="decorate it with the same of aragora_redis.SharedState, not aragora_redis.sync",
        )
    return kind


def stream_within(
    work: Callable[P, AsyncGenerator[Y, S]],
    around: Callable[P, AbstractAsyncContextManager[C]],
    began: Callable[[C], None],
) -> Callable[P, AsyncGenerator[Y, S]]:
    """An async generator within a context from its first item to its end.

    Args:
        work: whose items are passed on, and what is sent and thrown into it.
        around: the context of a call.
        began: is told at each item.
    """

    @wraps(work)
    async def stream(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Y, S]:
        async with around(*args, **kwargs) as inside:
            items = work(*args, **kwargs)
            step = anext(items)
            try:
                while True:
                    try:
                        item = await step
                    except StopAsyncIteration:
                        return
                    began(inside)
                    try:
                        step = items.asend((yield item))
                    except GeneratorExit:
                        raise
                    except BaseException as thrown:  # noqa: BLE001 - the generator may catch it
                        step = items.athrow(thrown)
            finally:
                await items.aclose()

    return stream
