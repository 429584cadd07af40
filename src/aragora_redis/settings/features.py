"""The variables of a feature and those of all: `ARAGORA_TOKENS_REDIS_URL`, `ARAGORA_REDIS_URL`."""

from __future__ import annotations

from collections.abc import Mapping

from . import names
from .model import Feature


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
