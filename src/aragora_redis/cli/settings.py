"""`aragora-redis settings`."""

from __future__ import annotations

from msgspec.structs import asdict

from ..policies import load_policies
from ..settings import describe, from_env
from . import output
from .options import AsJson


def settings(*, as_json: AsJson = False) -> None:
    """Show every setting that is in effect and where it came from, secrets masked.

    Warnings follow. Settings that cannot be used are an error that lists all that is wrong, and so
    is a policies file.
    """
    found = from_env()
    load_policies(found.policies)
    rows = describe(found)
    if as_json:
        output.write_json(
            {"settings": [asdict(row) for row in rows], "warnings": list(found.warnings)}
        )
        return
    output.write_table(
        ("setting", "value", "source"), ((row.name, row.value, row.source) for row in rows)
    )
    for warning in found.warnings:
        output.write(f"warning: {warning}", style="yellow")
