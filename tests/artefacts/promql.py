"""Which metrics an expression asks for. Not a parser: enough for expressions as we write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

_CLAUSE = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_SELECTOR = re.compile(r"\b([a-zA-Z_:][\w:]*)\b(?:\s*\{([^}]*)\})?(?!\s*\()")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_RANGE = re.compile(r"\[[^\]]*\]")
_OPERATORS = {"and", "or", "unless", "bool", "by", "on", "offset"}
_OF_THE_TARGET = {"namespace", "job", "instance", "pod"}


@dataclass(frozen=True)
class Selector:
    """A metric, and what its labels must be."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]

    @property
    def job(self) -> str:
        """As a regular expression; empty where any will do."""
        return next((value for label, _, value in self.matchers if label == "job"), "")

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Whether a scraped sample is one of its own; labels of the target count as met."""
        return all(
            label in labels and _met(labels[label], operator, value)
            for label, operator, value in self.matchers
            if label not in _OF_THE_TARGET
        )


def selectors(expression: str) -> Iterator[Selector]:
    """All selectors of an expression."""
    for metric, matchers in _SELECTOR.findall(_CLAUSE.sub("", _RANGE.sub("", expression))):
        if metric not in _OPERATORS:
            yield Selector(metric, tuple(_MATCHER.findall(matchers)))


def samples(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The samples of a scrape: name and labels."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels


def _met(text: str, operator: str, value: str) -> bool:
    same = bool(re.fullmatch(value, text)) if "~" in operator else text == value
    return same is not operator.startswith("!")
