"""Files from templates. Pure, but for reading the templates that the package holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined

from ...errors import InvalidInputError
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


_OF_BOTH = re.compile(
    r"config/(node|users|server|probing)\.sh|kubernetes/(kustomization\.yaml|(namespace|settings|gateway)/.*)"
    r"|compose/(make|with)-secrets\.sh"
)
"""What a Redis Cluster needs beside what is of it alone, which says so in its path."""
_REPLACE_SENTINELS = {
    f"kubernetes/overlays/cluster/{name}.yaml" for name in ("settings", "gateway")
}


def render(kind: Kind, plan: Plan) -> dict[str, str]:
    """The files of one kind: text by path, relative to its folder, in the order of their names.

    What stands a Redis Cluster up is beside what stands up one under Sentinels, but not the other
    way round.

    Raises:
        InvalidInputError: there are none for a Redis Cluster.
    """
    if plan.cluster and kind is Kind.SYSTEMD:
        raise InvalidInputError(
            "there are no systemd units for a Redis Cluster; take kubernetes or compose"
        )
    environment = _environment()
    prefix = f"{kind}/"
    rendered = {
        name.removeprefix(prefix): environment.get_template(name).render(
            plan=plan.as_cluster if _is_of_cluster(name) else plan, whole=plan
        )
        for name in sorted(environment.list_templates())
        if name.startswith(prefix) and (not plan.cluster or _is_wanted(name))
    }
    if kind is Kind.KUBERNETES and not plan.cluster:
        rendered[_WHOLE] = _whole(rendered)
    return rendered


def render_tree(kind: Kind, plan: Plan) -> dict[str, str]:
    """The files of one kind and of those that it needs, each in its folder of `deploy/`."""
    return {
        f"{each.place}/{name}": text
        for each in (kind, *kind.needs)
        for name, text in render(each, plan).items()
    }


def _is_of_cluster(name: str) -> bool:
    return "cluster" in name.lower()


def _is_wanted(name: str) -> bool:
    """Whether it belongs to a cluster that nothing with Sentinels stands beside."""
    alone = _is_of_cluster(name) and name not in _REPLACE_SENTINELS
    return alone or bool(_OF_BOTH.fullmatch(name))


def _programs(form: str) -> list[str]:
    """What the nodes of one form, `sentinel` or `cluster`, are given."""
    names = [name for name in _environment().list_templates() if name.startswith("config/")]
    wanted = _is_wanted if form == "cluster" else lambda name: not _is_of_cluster(name)
    return sorted(name.removeprefix("config/") for name in names if wanted(name))


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
    environment.globals["programs"] = _programs
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
