"""Files from templates. Pure, but for reading the templates that the package holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined

from .dashboard import dashboard
from .plan import Plan


class Kind(StrEnum):
    """What can be rendered."""

    CONFIG = "config"
    KUBERNETES = "kubernetes"
    COMPOSE = "compose"
    SYSTEMD = "systemd"
    MONITORING = "monitoring"

    @property
    def place(self) -> str:
        """Its folder in `deploy/`."""
        return _PLACES[self]

    @property
    def needs(self) -> tuple[Kind, ...]:
        """What its files refer to."""
        return _NEEDS.get(self, ())


_WHOLE = "sentinel-statefulset.yaml"
_WHOLE_HEAD = "# What namespace/ and base/ hold, in one file.\n"
_PLACES = {
    Kind.CONFIG: "redis",
    Kind.KUBERNETES: "k8s/redis",
    Kind.COMPOSE: "compose",
    Kind.SYSTEMD: "systemd",
    Kind.MONITORING: "monitoring",
}
_NEEDS = {
    Kind.KUBERNETES: (Kind.MONITORING,),
    Kind.COMPOSE: (Kind.CONFIG,),
    Kind.SYSTEMD: (Kind.CONFIG,),
}


def render(kind: Kind, plan: Plan) -> dict[str, str]:
    """The files of one kind: text by path, relative to its folder, in the order of their names."""
    environment = _environment()
    prefix = f"{kind}/"
    rendered = {
        name.removeprefix(prefix): environment.get_template(name).render(plan=plan)
        for name in sorted(environment.list_templates())
        if name.startswith(prefix)
    }
    if kind is Kind.KUBERNETES:
        rendered[_WHOLE] = _whole(rendered)
    return rendered


def render_tree(kind: Kind, plan: Plan) -> dict[str, str]:
    """The files of one kind and of those that it needs, each in its folder of `deploy/`."""
    return {
        f"{each.place}/{name}": text
        for each in (kind, *kind.needs)
        for name, text in render(each, plan).items()
    }


def _whole(rendered: Mapping[str, str]) -> str:
    """Redis alone as one file, for those who apply a file and no directory."""
    listed = re.findall(r"^  - (\S+)$", rendered["base/kustomization.yaml"], re.MULTILINE)
    parts = [rendered["namespace/namespace.yaml"], *(rendered[f"base/{name}"] for name in listed)]
    return _WHOLE_HEAD + "---\n".join(parts)


@cache
def _environment() -> Environment:
    # PromQL, shells and Go templates have braces and brackets of their own.
    environment = Environment(
        loader=DictLoader(dict(_templates())),
        variable_start_string="<%=",
        variable_end_string="%>",
        block_start_string="<%",
        block_end_string="%>",
        comment_start_string="<%#",
        comment_end_string="%>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - nothing of it is HTML, and Plan admits no metacharacter
    )
    environment.globals["text_of"] = lambda name, plan: environment.get_template(name).render(
        plan=plan
    )
    environment.globals["dashboard"] = dashboard
    return environment


def _templates() -> Iterator[tuple[str, str]]:
    root = files(__package__) / "templates"
    pending = [(root, "")]
    while pending:
        folder, path = pending.pop()
        for entry in folder.iterdir():
            if entry.is_dir():
                pending.append((entry, f"{path}{entry.name}/"))
            else:
                yield path + entry.name, entry.read_text("utf-8")
