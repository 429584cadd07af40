"""`aragora-redis manifests`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..ops.manifests import Kind, Plan, carried, render, render_tree, write
from ..settings import Cluster, Sentinel, from_env
from . import output
from .options import AsJson

_DEFAULTS = Plan()


def manifests(
    kind: Annotated[Kind, typer.Argument(help="For what.")],
    *,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the files there instead of printing them."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over files that are there and differ.")
    ] = False,
    namespace: Annotated[str, typer.Option(help="Namespace.")] = _DEFAULTS.namespace,
    nodes: Annotated[
        int | None,
        typer.Option(
            help="Servers: 3, 5, 7 or 9, each with a Sentinel; of a Redis Cluster 6, 8... or 18.",
            show_default="3, of a cluster 6",
        ),
    ] = None,
    maxmemory: Annotated[str, typer.Option(help="What one server may hold.")] = _DEFAULTS.maxmemory,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Volume of one server, at least twice --maxmemory.",
            show_default="four times --maxmemory",
        ),
    ] = None,
    down_after: Annotated[
        int, typer.Option(metavar="MS", help="Silence after which a server counts as down.")
    ] = _DEFAULTS.down_after_ms,
    redis_image: Annotated[str, typer.Option(help="Image of Redis.")] = _DEFAULTS.redis_image,
    exporter_image: Annotated[
        str, typer.Option(help="Image of the exporter, with a shell.")
    ] = _DEFAULTS.exporter_image,
    image: Annotated[str, typer.Option(help="Image built of the Dockerfile.")] = _DEFAULTS.image,
    as_json: AsJson = False,
) -> None:
    """Write what stands such a Redis up, for your sizes and settings.

    Whether it is a Redis Cluster, the name of the primary, and the settings of the gateway are
    those of the ARAGORA_* variables; secrets are never written. Without --out the files are
    printed, each after a line with its name; with it, what they refer to is written as well.
    """
    settings = from_env()
    topology = settings.topology
    cluster = isinstance(topology, Cluster)
    if nodes is None:
        nodes = (Plan.of_cluster() if cluster else _DEFAULTS).nodes
    plan = Plan(
        namespace=namespace,
        nodes=nodes,
        cluster=cluster,
        master=topology.master if isinstance(topology, Sentinel) else _DEFAULTS.master,
        maxmemory=maxmemory,
        storage=storage,
        down_after_ms=down_after,
        redis_image=redis_image,
        exporter_image=exporter_image,
        image=image,
        environment=carried(os.environ),
    )
    if out is None:
        _show(render(kind, plan), as_json=as_json)
    else:
        written = [str(path) for path in write(render_tree(kind, plan), out, force=force)]
        _tell(written, as_json=as_json)


def _show(rendered: Mapping[str, str], *, as_json: bool) -> None:
    if as_json:
        output.write_json(rendered)
        return
    for name, text in rendered.items():
        output.write_text(f"# ==> {name}\n{text}")


def _tell(written: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        output.write_json({"written": written})
        return
    for name in written or ("nothing to write: all of it is there already",):
        output.write(name)
