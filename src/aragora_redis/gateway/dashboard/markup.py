"""HTML in which nothing from outside can be markup: text is escaped unless it is `Html`."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

_VOID = frozenset({"br", "input", "link", "meta"})


class Html(str):
    """Markup that is finished. Only this module makes it."""

    __slots__ = ()


Child: TypeAlias = str | Iterable["Child"] | None
Attribute: TypeAlias = str | int | float | bool | None


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Html:
    """An element.

    Args:
        name: of the element.
        children: plain text is escaped, `Html` is taken as it is, None is left out.
        attributes: `class_` is class, `aria_label` is aria-label; True stands alone, None and False
            are left out.
    """
    opening = f"<{name}{''.join(_attribute(*each) for each in attributes.items())}>"
    return Html(opening if name in _VOID else f"{opening}{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Html:
    """Children one after the other."""
    return Html("".join(_render(child) for child in children))


def document(*children: Child) -> Html:
    """A page."""
    return Html("<!doctype html>" + tag("html", *children, lang="en"))


def _render(child: Child) -> str:
    if child is None or isinstance(child, Html):
        return child or ""
    return escape(child) if isinstance(child, str) else join(child)


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    written = name.rstrip("_").replace("_", "-")
    return f" {written}" if value is True else f' {written}="{escape(str(value))}"'
