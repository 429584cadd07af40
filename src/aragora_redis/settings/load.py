"""Read an environment, look at the files that it names, and say all that is wrong at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from ..errors import SettingsError
from . import names
from .apart import leading_nowhere, readings_apart
from .choice import ignored
from .contradictions import contradictions, level_contradiction
from .credentials import Credentials
from .environment import PREFIX
from .features import renamed
from .files import reason_unreadable, reason_unsafe, secret_in
from .hosts import Hosts
from .model import Feature, Settings
from .reading import Reading, lookalikes, read
from .resolve import build
from .session_keys import SessionKeySource


def load(environ: Mapping[str, str]) -> Settings:
    """See `aragora_redis.settings.from_env`."""
    reading, apart = read(environ), readings_apart(environ)
    problems = (
        *_problems(reading),
        *(
            renamed(problem, feature)
            for feature, own in apart.items()
            for problem in _problems(own)
        ),
        *_level(reading, apart),
        *leading_nowhere(reading, apart, environ),
    )
    if problems:
        # What is missing may be there under a name that is nearly ours.
        raise SettingsError(_listed((*problems, *lookalikes(environ))))
    return build(reading, apart)


def _level(reading: Reading, apart: Mapping[Feature, Reading]) -> Iterator[str]:
    asked, own = reading.values.tokens_level, apart.get(Feature.TOKENS)
    if own is None:
        yield from level_contradiction(asked, reading)
        return
    yield from (renamed(said, Feature.TOKENS) for said in level_contradiction(asked, own))


def _problems(reading: Reading) -> Iterator[str]:
    yield from reading.problems
    yield from contradictions(reading)
    yield from _unusable_files(reading)


def _unusable_files(reading: Reading) -> Iterator[str]:
    unused = ignored(reading)
    for field, value in reading.values:
        name = PREFIX + field.upper()
        if not isinstance(value, Path) or name in unused:
            continue
        if name == names.TOKENS_OUTBOX:
            if why := reason_unsafe(value):
                yield f"{name} names {value}, which cannot be the outbox: {why}"
        elif why := reason_unreadable(value):
            yield f"{name} names {value}, which cannot be read: {why}; correct the path or its mode"
        elif name == names.PASSWORD_FILE:
            yield from _unusable(Credentials(password_file=value).password)
        elif name == names.JWT_SECRET_FILE:
            yield from _unusable(partial(secret_in, value, "key", name))
        elif name == names.SESSION_KEYS_FILE:
            yield from _unusable(SessionKeySource(file=value).read)
        elif name == names.HOSTS_FILE:
            yield from _unusable(partial(Hosts(value).addresses, ""))


def _unusable(use: Callable[[], object]) -> Iterator[str]:
    # An empty file, or one that was never filled in, is found now and not at the next failover.
    try:
        use()
    except SettingsError as error:
        yield str(error)


def _listed(problems: tuple[str, ...]) -> str:
    if len(problems) == 1:
        return problems[0]
    return "\n- ".join((f"the settings have {len(problems)} problems:", *problems))
