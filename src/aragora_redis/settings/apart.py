"""A Redis of its own for one feature: `ARAGORA_TOKENS_REDIS_URL` and its like. Pure.

They are the variables of all under other names, so each is read, judged and explained as the one
that it stands for is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from . import names
from .choice import mode_of
from .model import Feature, Mode
from .reading import Reading, read


def readings_apart(environ: Mapping[str, str]) -> dict[Feature, Reading]:
    """What is said of features that have a Redis of their own, in the names of all."""
    return {feature: read(own) for feature in Feature if (own := own_variables(environ, feature))}


def own_variables(environ: Mapping[str, str], feature: Feature) -> dict[str, str]:
    """The variables of a feature that are set, under the names of those that they stand for."""
    start = feature.variables
    return {
        names.REDIS + name.removeprefix(start): text
        for name, text in environ.items()
        if name.startswith(start) and text.strip()
    }


def renamed(sentence: str, feature: Feature) -> str:
    """A sentence about the variables of all, about those of a feature."""
    return sentence.replace(names.REDIS, feature.variables)


def leading_nowhere(
    reading: Reading, apart: Mapping[Feature, Reading], given: Mapping[str, str]
) -> Iterator[str]:
    """A sentence for each feature whose variables say nothing of where its Redis is.

    Args:
        reading: what is said of all.
        apart: and of features.
        given: the environment.
    """
    for feature, own in apart.items():
        named = ", ".join(sorted(name for name in given if name.startswith(feature.variables)))
        modes: tuple[Mode, Mode] = mode_of(own), mode_of(reading)
        match modes:
            case "embedded", _:
                yield (
                    f"{named} is set, but nothing says where the Redis of {feature} is; "
                    f"set {renamed(names.URL, feature)}, or unset it"
                )
            case _, "embedded":
                yield (
                    f"{named} is set, but nothing says where the Redis of the other features is; "
                    f"set {names.URL}, {names.HOSTS} and {names.MASTER}, or {names.CLUSTER_NODES}"
                )
