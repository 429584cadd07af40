"""`aragora-redis tokens`."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from ..clock import SYSTEM_CLOCK
from ..errors import InvalidInputError, SettingsError
from ..extras import installing
from ..ops.desk import Desk, revocations
from ..settings import Feature, Settings
from ..state.revocations.receipt import Level, Receipt
from ..tokens.entry import RevocationKind
from ..tokens.lifetime import revoked_until
from ..tokens.lines import LINE_LIMIT
from ..tokens.listing import Revocation
from ..tokens.transfer import FRAME_LINES
from . import output
from .deployment import OfLab, settings_of
from .desk import (
    Actor,
    Limit,
    Reason,
    at_desk,
    instant,
    secret_from,
    signed,
    tell_receipt,
    told_of,
    when,
)
from .options import AsJson, named

app = typer.Typer(no_args_is_help=True, help="Look at revoked tokens, and revoke them by hand.")

Jti = Annotated[str | None, typer.Option("--jti", help="One token, by its id.")]
User = Annotated[str | None, typer.Option("--user", help="All tokens of a user.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="All tokens of a tenant's users.")]
Family = Annotated[
    str | None, typer.Option("--family", help="All tokens of one login and what it refreshed.")
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="PATH",
        help="One token, whole: the file's first line, or standard input for -.",
    ),
]


@app.command("list")
def list_(
    *,
    limit: Limit = 50,
    after: Annotated[
        str | None, typer.Option("--after", help="Where to begin, as the list before has told.")
    ] = None,
    lab: OfLab = None,
    as_json: AsJson = False,
) -> None:
    """Show what is revoked: digests of it, since ids are not stored."""
    found = at_desk(
        settings_of(lab), Feature.TOKENS, lambda desk: revocations.listing(desk, limit, after)
    )
    if as_json:
        output.write_json(found.as_dict())
        return
    output.write_table(
        ("DIGEST", "WHAT", "MOMENT", "ACTOR", "REASON"),
        [
            (
                each.digest,
                f"{each.what}, pardoned" if each.pardoned else each.what,
                _moment(each),
                each.actor or "",
                each.reason or "",
            )
            for each in found.shown
        ],
    )
    more = f"; more with --after {found.after}" if found.after else ""
    output.write(f"{len(found.shown)} of {found.total} that are kept{more}", style="dim")


@app.command()
def look(
    *,
    jti: Jti = None,
    user: User = None,
    tenant: Tenant = None,
    family: Family = None,
    token_file: TokenFile = None,
    lab: OfLab = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a token, user, tenant or family is revoked, as the primary has it.

    A whole token is verified, and judged by all cut-offs too, as the services do.
    """
    named = _named(jti, user, tenant, family, token_file)
    settings = settings_of(lab)
    if token_file is not None:
        claims = _claims(settings, secret_from(token_file, "token"))
        found = at_desk(settings, Feature.TOKENS, lambda desk: revocations.find_token(desk, claims))
    else:
        found = at_desk(settings, Feature.TOKENS, lambda desk: revocations.find(desk, *named))
    if as_json:
        output.write_json({"revoked": found is not None, "found": found and found.as_dict()})
    elif found is None:
        output.write("not revoked")
    else:
        reason = f": {found.reason}" if found.reason else ""
        by = f", by {found.actor}" if found.actor else ""
        output.write(f"revoked, {_moment(found)}{by}{reason}")


@app.command(
    options_metavar="(--jti ID|--user ID|--tenant ID|--family ID|--token-file PATH) --reason WHY "
    "[OPTIONS]"
)
def revoke(
    *,
    reason: Reason,
    jti: Jti = None,
    user: User = None,
    tenant: Tenant = None,
    family: Family = None,
    token_file: TokenFile = None,
    expires_at: Annotated[
        str | None,
        typer.Option(help="When the token of a jti expires: Unix seconds or RFC 3339."),
    ] = None,
    issued_before: Annotated[
        str | None,
        typer.Option(
            help="For a cut-off: refuse what was issued until then; now by default. Refresh tokens "
            "of a family end all the same."
        ),
    ] = None,
    users: Annotated[
        int | None,
        typer.Option(help="For a tenant: how many users this logs out, by your own directory."),
    ] = None,
    actor: Actor = None,
    lab: OfLab = None,
    as_json: AsJson = False,
) -> None:
    """Refuse one token, or all tokens that were issued so far, on every instance.

    A tenant is revoked only by whoever says how many users that logs out (--users). A whole token
    that expired over an hour ago needs no revocation. The exit code is 0 once all replicas have it,
    1 where they have not confirmed that.
    """
    kind, name = _named(jti, user, tenant, family, token_file)
    who, settings = signed(actor, reason), settings_of(lab)
    if (kind is RevocationKind.TENANT) is (users is None):
        raise typer.BadParameter("--tenant and --users, how many it has, belong together")
    if kind is RevocationKind.JTI:
        if issued_before is not None:
            raise typer.BadParameter("--issued-before belongs to a cut-off; a token takes none")
        ends = instant(expires_at)
        if token_file is not None:
            claims = _claims(settings, secret_from(token_file, "token"))
            name, ends = claims["jti"], claims.get("exp", ends)
        receipt = _revoke_token(settings, name, ends, who, reason, whole=token_file is not None)
    else:
        if expires_at is not None:
            raise typer.BadParameter("--expires-at belongs to a token; a cut-off takes none")
        before = instant(issued_before)
        receipt = at_desk(
            settings,
            Feature.TOKENS,
            lambda desk: revocations.cut_off(
                desk, kind, name, issued_before=before, users=users, actor=who, reason=reason
            ),
            acts=True,
        )
    tell_receipt("revoked", receipt, as_json=as_json)


@app.command(options_metavar="(--jti ID|--user ID|--tenant ID|--family ID) --reason WHY [OPTIONS]")
def pardon(
    *,
    reason: Reason,
    jti: Jti = None,
    user: User = None,
    tenant: Tenant = None,
    family: Family = None,
    actor: Actor = None,
    lab: OfLab = None,
    as_json: AsJson = False,
) -> None:
    """Undo a revocation as it stands now. Needs ARAGORA_PARDON_KEY, the one of the services."""
    kind, name = _named(jti, user, tenant, family, None)
    who, settings = signed(actor, reason), settings_of(lab)
    receipt = at_desk(
        settings,
        Feature.TOKENS,
        lambda desk: revocations.pardon(desk, kind, name, actor=who, reason=reason),
        acts=True,
    )
    tell_receipt("pardoned", receipt, as_json=as_json)


@app.command()
def export(
    *,
    file: Annotated[
        Path,
        typer.Argument(metavar="PATH", callback=named, help="Where to; standard output for -."),
    ] = Path("-"),
    lab: OfLab = None,
    as_json: AsJson = False,
) -> None:
    """Write all revocations as JSON lines of digests, for `import` into another Redis.

    They mean something under the same ARAGORA_DIGEST_KEY alone. On standard output there is nothing
    else, with --json neither.
    """

    async def to_output(desk: Desk) -> None:
        async for lines in revocations.export_all(desk):
            sys.stdout.buffer.write(lines)

    async def to_file(desk: Desk) -> int:
        # Whole or not at all: what is cut short must not be taken for all.
        written, count = file.with_name(file.name + ".part"), 0
        try:
            with written.open("wb") as out:
                async for lines in revocations.export_all(desk):
                    count += lines.count(b"\n")
                    out.write(lines)
            written.replace(file)
        finally:
            written.unlink(missing_ok=True)
        return count - FRAME_LINES

    if str(file) == "-":
        at_desk(settings_of(lab), Feature.TOKENS, to_output)
        return
    count = at_desk(settings_of(lab), Feature.TOKENS, to_file)
    if as_json:
        output.write_json({"written": count, "path": str(file)})
    else:
        output.write(f"{count} revocations written to {file}")


@app.command("import")
def import_(
    *,
    file: Annotated[Path, typer.Argument(metavar="PATH", help="What `export` wrote; - reads it.")],
    reason: Reason,
    actor: Actor = None,
    lab: OfLab = None,
    as_json: AsJson = False,
) -> None:
    """Join exported revocations to those here. It may be repeated, and takes nothing back."""
    who, settings = signed(actor, reason), settings_of(lab)
    with contextlib.ExitStack() as stack:
        lines = sys.stdin.buffer if str(file) == "-" else stack.enter_context(file.open("rb"))
        imported = at_desk(
            settings,
            Feature.TOKENS,
            lambda desk: revocations.import_all(
                desk, _bounded(lines, file), actor=who, reason=reason
            ),
            acts=True,
        )
    if as_json:
        output.write_json(
            {"read": imported.entries, "expired": imported.expired, "level": imported.level.word}
        )
    else:
        over = f", {imported.expired} of them expired" if imported.expired else ""
        output.write(f"{imported.entries} revocations read{over}; joined: {imported.level.word}")


def _bounded(lines: BinaryIO, file: Path) -> Iterator[bytes]:
    """Lines that end: what has none is no export, and is not to fill the memory."""
    with told_of(file):
        while line := lines.readline(LINE_LIMIT):
            yield line


def _revoke_token(
    settings: Settings, jti: str, ends: float | None, actor: str, reason: str, *, whole: bool
) -> Receipt:
    if ends is None:
        raise typer.BadParameter("give --expires-at: until then the token must be refused")
    until = revoked_until(ends, SYSTEM_CLOCK.wall()) if whole else ends
    if until is None:
        output.note(f"the token expired at {when(ends)}: that refuses it, and nothing was stored")
        return Receipt(Level.LOCAL, Level.LOCAL, outbox="none")
    return at_desk(
        settings,
        Feature.TOKENS,
        lambda desk: revocations.revoke_token(
            desk, jti, expires_at=until, actor=actor, reason=reason
        ),
        acts=True,
    )


def _named(
    jti: str | None,
    user: str | None,
    tenant: str | None,
    family: str | None,
    token_file: Path | None,
) -> tuple[RevocationKind, str]:
    """What is meant; the name of a token in a file is still to be read."""
    given = [
        (kind, name)
        for kind, name in (
            (RevocationKind.JTI, jti),
            (RevocationKind.USER, user),
            (RevocationKind.TENANT, tenant),
            (RevocationKind.FAMILY, family),
            (RevocationKind.JTI, None if token_file is None else ""),
        )
        if name is not None
    ]
    if len(given) != 1:
        raise typer.BadParameter("give one of --jti, --user, --tenant, --family and --token-file")
    return given[0]


def _claims(settings: Settings, token: str) -> dict[str, Any]:
    """A token's verified claims, with the id under which it is revoked as its `jti`."""
    try:
        from ..jwt import Verifier  # noqa: PLC0415 - what it needs is an extra
    except ModuleNotFoundError as error:
        raise SettingsError(
            "a whole token needs PyJWT", remedy=f"{installing('jwt')}; or give --jti"
        ) from error
    try:
        verifier = Verifier(settings.jwt, *settings.issuers, leeway=settings.tokens.skew)
        verified = asyncio.run(verifier.verify(token, alive=False))
    except InvalidInputError as error:
        raise InvalidInputError(
            error.message, remedy="nothing was done; check ARAGORA_JWT_SECRET, or give --jti"
        ) from error
    return verified.named


def _moment(found: Revocation) -> str:
    if found.what == "pardon":
        return "of the revocation beside it"
    if found.what in ("user", "tenant", "family"):
        return f"issued until {when(found.moment)}"
    if found.what == "sessions":
        return f"begun until {when(found.moment)}"
    return f"until {when(found.moment)}"
