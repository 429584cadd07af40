"""`aragora-redis audit`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..ops.desk import audit as records
from . import output
from .deployment import OfLab, settings_of
from .desk import Limit, at_desk, when
from .options import AsJson


def audit(
    *,
    limit: Limit = 50,
    actor: Annotated[str | None, typer.Option("--actor", help="Only what they did.")] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="Only what was done to it: a name or a digest.")
    ] = None,
    lab: OfLab = None,
    as_json: AsJson = False,
) -> None:
    """Show what was done with these commands, by whom and why, the newest first.

    Tokens, users and sessions stand there as digests, the same as in `tokens list`. What stays
    `begun` was interrupted, or could not be told of any more.
    """
    settings = settings_of(lab)
    everything = actor is not None or target is not None
    asked = records.recent(settings.prefix, records.KEPT if everything else limit)
    found = [
        each
        for each in at_desk(settings, lambda desk: desk.ask(asked))
        if actor in (None, each.act.actor) and (target or "") in each.act.target
    ][:limit]
    if as_json:
        output.write_json([each.as_dict() for each in found])
        return
    output.write_table(
        ("WHEN", "ACTOR", "ACTION", "TARGET", "OUTCOME", "REASON"),
        [
            (
                when(each.at),
                each.act.actor,
                each.act.action,
                each.act.target,
                each.act.outcome,
                each.act.reason,
            )
            for each in found
        ],
    )
