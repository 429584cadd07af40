"""Write the reference of all variables: `python -m aragora_redis.settings.reference`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..reference import write_or_check
from .doc import Group
from .environment import Variable, variables

_COMMITTED = Path("docs/ENVIRONMENT.md")

_HEAD = """\
# Environment variables

<!-- Written by `python -m aragora_redis.settings.reference --write`; edit the settings instead. -->

The library, the gateway and the commands read the same variables. An empty one counts as unset.
All mistakes are reported at once, each with its remedy. `aragora-redis settings` shows every value
that is in effect and where it came from, with secrets masked. What limits, circuits and sessions
allow is not here but in the [policies file](POLICIES.md).

The first of these that is set says where Redis is:

1. `ARAGORA_REDIS_MODE`, which demands a mode and is refused where the other variables name another;
2. `ARAGORA_REDIS_SENTINEL_HOSTS` with `ARAGORA_REDIS_SENTINEL_MASTER`; an `ARAGORA_REDIS_URL`
   beside them is ignored with a warning, so a migration may leave it set;
3. `ARAGORA_REDIS_CLUSTER_NODES`, or `ARAGORA_REDIS_CLUSTER_MODE=true` with a node in
   `ARAGORA_REDIS_URL`; beside the nodes that URL is ignored with a warning, too;
4. `ARAGORA_REDIS_URL`;
5. nothing: the state is kept in this process and ends with it, with a warning.

Sentinels together with a Redis Cluster are refused.

A variable of its own replaces the same part of the URL. A value in which `${NAME}` or `$(NAME)` was
left unexpanded is refused.

A feature may have a Redis of its own: `ARAGORA_TOKENS_REDIS_*`, `ARAGORA_SESSIONS_REDIS_*`,
`ARAGORA_RATE_LIMIT_REDIS_*` and `ARAGORA_CIRCUITS_REDIS_*` stand for all the variables that begin
with `ARAGORA_REDIS_`, such as `ARAGORA_TOKENS_REDIS_URL`. They say all of it: nothing but the
deadline is taken over, no password above all. `ARAGORA_REDIS_*` say where the features are that
have none of their own. What is kept where:
[A Redis for one feature](DEPLOYMENT.md#a-redis-for-one-feature).
"""

_NOTES = {
    Group.LIMITS: """\
With `ARAGORA_RATE_LIMIT_FAIL_OPEN=true` an outage is still no free pass: each instance admits the
limit divided by the number of live instances, so the fleet as a whole admits about the limit. A
policy may decide for itself with `on_outage = "fail-open"` or `"fail-closed"`.
""",
    Group.TLS: """\
Files are read at each connection, so renewed certificates need no restart. Naming a file while TLS
is off is an error, unless `ARAGORA_REDIS_TLS=false` says that this is meant.
""",
    Group.GATEWAY: """\
To rotate a token, set `new,old`, move the clients, then set `new`.
""",
}


def reference() -> str:
    """The page, in Markdown."""
    return "\n".join((_HEAD, *_sections()))


def _sections() -> Iterator[str]:
    for group in Group:
        yield f"## {group}\n"
        if group in _NOTES:
            yield _NOTES[group]
        yield "| Variable | Value | Default | Meaning |"
        yield "|---|---|---|---|"
        for variable in variables().values():
            if variable.doc.group is group:
                doc = variable.doc
                secret = " Secret." if doc.secret else ""
                cells = (f"`{variable.name}`", doc.form, _default(variable), doc.text + secret)
                yield f"| {' | '.join(cells)} |"
        yield ""


def _default(variable: Variable) -> str:
    if variable.doc.default is not None:
        return variable.doc.default
    match variable.default:
        case None | ():
            return ""
        case bool() as flag:
            return f"`{str(flag).lower()}`"
        case tuple() as several:
            return f"`{','.join(several)}`"
        case float() as number:
            return f"`{number:g}`"
        case other:
            return f"`{other}`"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the page, write it, or check that a file holds it (exit 1 where it does not)."""
    return write_or_check(
        reference(), _COMMITTED, program="aragora_redis.settings.reference", arguments=arguments
    )


if __name__ == "__main__":
    sys.exit(main())
