"""What the proxy counts, in the text format of Prometheus. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

PREFIX = "aragora_redis_proxy_"
_MEANINGS = {
    "connections": ("gauge", "Connections that are open."),
    "leading": ("gauge", "Whether the primary is known and proven (0 or 1)."),
    "led_total": ("counter", "Connections that were led to a server."),
    "refused_total": ("counter", "Connections that were not."),
    "ended_total": ("counter", "Connections that have ended."),
    "bytes_total": ("counter", "Bytes passed on."),
}


class Figures:
    """Counts since the start."""

    def __init__(self) -> None:
        self.led: Counter[str] = Counter(primary=0, replicas=0)
        """By port."""
        self.refused: Counter[str] = Counter(limit=0, nowhere=0, tls=0)
        """By why: too many, no server to lead to, no agreement on TLS."""
        self.ended: Counter[str] = Counter(client=0, server=0, change=0, drain=0)
        """By what ended it."""
        self.received = self.sent = 0
        """Bytes from programs, and to them."""

    def exposition(self, *, connections: int, leading: bool) -> str:
        """All of them."""
        return "".join(f"{line}\n" for line in self._lines(connections, leading=leading))

    def _lines(self, connections: int, *, leading: bool) -> Iterator[str]:
        samples = {
            "connections": {"": connections},
            "leading": {"": int(leading)},
            "led_total": _labelled("port", self.led),
            "refused_total": _labelled("why", self.refused),
            "ended_total": _labelled("by", self.ended),
            "bytes_total": _labelled("way", {"to_server": self.received, "to_client": self.sent}),
        }
        for name, (kind, meaning) in _MEANINGS.items():
            yield f"# HELP {PREFIX}{name} {meaning}"
            yield f"# TYPE {PREFIX}{name} {kind}"
            yield from (f"{PREFIX}{name}{labels} {n}" for labels, n in samples[name].items())


def _labelled(label: str, counts: dict[str, int]) -> dict[str, int]:
    return {f'{{{label}="{value}"}}': count for value, count in counts.items()}
