"""One check of a rate limit, from few and from many callers of one process."""

from __future__ import annotations

from ..case import Bar, Case, Entry

MEASURES = ("rate", "median", "p99", "client cpu", "server cpu", "server share")
LIMIT = Entry("redis_benchmark", "check", "redis-benchmark -P 16", {"callers": 16, "pipeline": 16})


def _case(callers: int, *bars: Bar) -> Case:
    given = {"callers": callers}
    return Case(
        f"check-{callers}",
        f"rate-limit checks by {callers} callers; the clients run the same script",
        (
            Entry("ours", "check", "ours", given),
            Entry("redis_py", "check", "redis-py asyncio", given),
            Entry("coredis_client", "check", "coredis", given),
            Entry("glide", "check", "valkey-glide", given),
            LIMIT,
        ),
        MEASURES,
        bars,
    )


def _faster(than: str, times: float) -> Bar:
    return Bar("rate", "ours", at_least=times, against=than)


CASES = (
    _case(1, Bar("median", "ours", at_most=0.9, against="redis-py asyncio")),
    _case(
        16,
        _faster("redis-py asyncio", 6),
        _faster("valkey-glide", 3),
        Bar("server cpu", "ours", at_most=1.0, against=LIMIT.name),
    ),
    _case(
        256,
        _faster("redis-py asyncio", 15),
        _faster("valkey-glide", 5),
        Bar("server cpu", "ours", at_most=0.6, against=LIMIT.name),
        Bar("server share", "ours", at_least=85),
    ),
    Case(
        "layers",
        "a check by one of 256 callers, begun further and further out: what each layer adds",
        tuple(
            Entry("layers", "layer", name, {"layer": at, "callers": 256})
            for at, name in enumerate(("event loop", "lane", "executor", "decider", "public face"))
        ),
        ("client cpu", "rate"),
    ),
)
