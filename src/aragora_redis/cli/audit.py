"""`aragora-redis audit`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..settings import Feature
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
    """Show what was done by hand, by whom and why, the newest first: from every face and instance.

    Tokens, users and sessions stand there as digests, the same as in `tokens list`. What stays
    `begun` was interrupted, or could not be told of any more.
    """
    found = at_desk(
        settings_of(lab),
        Feature.TOKENS,
        lambda desk: desk.records.recent(limit, actor=actor, target=target),
    )
    if as_json:
        output.write_json([each.as_dict() for each in found.acts])
        return
    if not found.acts:
        output.write("nothing is on record")
        return
    output.write_table(
        ("WHEN", "ACTOR", "VIA", "ACTION", "TARGET", "OUTCOME", "REASON"),
        [
            (
                when(each.at),
                each.actor,
                f"{each.via} {each.instance}".strip(),
                each.action,
                each.target,
                each.outcome,
                each.reason,
            )
            for each in found.acts
        ],
    )
