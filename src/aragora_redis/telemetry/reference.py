"""Write the list of all metrics and log lines: `python -m aragora_redis.telemetry.reference`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..reference import write_or_check
from .instruments import INSTRUMENTS, PREFIX, READINGS, Instrument, Kind

COMMITTED = Path("docs/METRICS.md")

_HEAD = """\
# Metrics and logs

<!-- Written by `python -m aragora_redis.telemetry.reference --write`; edit telemetry/ instead. -->

The gateway serves the metrics below at `/metrics`. A service that uses the library exports them
itself, with the package `prometheus-client`:

```python
from aragora_redis.telemetry.prometheus import Metrics

metrics = Metrics()
metrics.listen(state.events)
metrics.watch(state.status)
content, content_type = metrics.exposition()
```

With the extra `otel` the same metrics go to OpenTelemetry, named `aragora_redis.NAME`, and each
failover is a span with a child for each phase. The gateway does so by itself where the extra is
installed; which exporter gets them is up to the SDK, for example with
`opentelemetry-instrument aragora-redis serve`.

```python
from aragora_redis.telemetry.otel import OpenTelemetry

told = OpenTelemetry()
told.listen(state.events)
told.watch(state.status)
```

No label holds a token, a user, a subject or a session.
"""

_LOGS = """\
## Logs

The log has one line for each thing that an operator acts on and none for a request. With
`ARAGORA_LOG_FORMAT=json` each line of `serve`, its workers, `proxy` and `label-keeper` is a JSON
object: `at` (RFC 3339), `level`, `logger`, `message`, and for what the library states as a fact
`event` with the fact's own fields, such as

```json
{"at":"2026-01-31T12:00:00.000+00:00","level":"WARNING","logger":"aragora_redis.telemetry.logs",\
"message":"failover: the primary was 10.0.0.1:6379 and is 10.0.0.2:6379 (epoch 7)",\
"event":"ViewChanged","old":"10.0.0.1:6379","new":"10.0.0.2:6379","epoch":7}
```

In a service of your own one WARNING says that Redis cannot be used, with the cause, and another
that it can again (`aragora_redis.state.outage_log`). For all of the events, and these two as well:
`EventLog().listen(state.events)` from `aragora_redis.telemetry.logs`, and your own handlers; a
record's `event` holds the fact. `ARAGORA_LOG_LEVEL` and `ARAGORA_LOG_FORMAT` change nothing there:
`configure_logging("INFO", "json")` from the same module logs like the commands.

`aragora-redis health --prometheus FILE` writes figures of the servers themselves, see
`aragora-redis health --help`.

## Alerts and dashboard

`deploy/monitoring/` has all of this watched: the Redis exporter and who is scraped, for the
Prometheus operator or in a `prometheus.yml`; alert rules, each with a section of the
[runbook](RUNBOOK.md); and a Grafana dashboard. `redis_replication_lag` and
`redis_master_link_status` are recorded by the rules, as no exporter has them. A lag of 0 or 1 s is
usual, for replicas acknowledge once a second.
"""


def reference() -> str:
    """The page, in Markdown."""
    return "\n".join((_HEAD, *_tables(), _LOGS))


def _tables() -> Iterator[str]:
    yield "## Metrics\n"
    yield "| Metric | Kind | Unit | Meaning | Labels |"
    yield "|---|---|---|---|---|"
    for instrument in (*INSTRUMENTS, *(reading.instrument for reading in READINGS)):
        yield _row(instrument)
    yield ""


def _row(instrument: Instrument) -> str:
    total = "_total" if instrument.kind is Kind.COUNTER else ""
    labels = "; ".join(f"`{name}`: {values}" for name, values in instrument.labels)
    name = f"`{PREFIX}{instrument.name}{total}`"
    cells = (name, instrument.kind.value, instrument.unit, instrument.meaning, labels)
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the page, write it, or check that a file holds it (exit 1 where it does not)."""
    return write_or_check(
        reference(), COMMITTED, program="aragora_redis.telemetry.reference", arguments=arguments
    )


if __name__ == "__main__":
    sys.exit(main())
