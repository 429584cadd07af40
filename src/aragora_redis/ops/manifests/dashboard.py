"""The Grafana dashboard, as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .panels import WIDTH, Kind, Panel, sections
from .plan import Plan

_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_SCHEMA = 38
"""The schema of Grafana 10.0; later ones read it too."""
_HEIGHT = 8

_LABELS = {
    "@server": 'namespace="$namespace", job="redis"',
    "@sentinel": 'namespace="$namespace", job="redis-sentinel"',
    "@gateway": 'namespace="$namespace", job="aragora-gateway"',
}
"""What stands in a query for the labels of one job."""


_COLOURS = {"down": "red", "failing": "red", "replica": "blue"}


def dashboard(plan: Plan) -> str:
    """The dashboard as JSON, to be imported or provisioned."""
    return json.dumps(
        {
            "uid": "aragora-redis-cluster" if plan.cluster else "aragora-redis",
            "title": "Aragora Redis Cluster" if plan.cluster else "Aragora Redis",
            "description": "Rendered by aragora-redis; change it there, or save a copy.",
            "tags": ["aragora", "redis"],
            "schemaVersion": _SCHEMA,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "15s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "templating": {"list": _variables(plan)},
            "panels": [
                {"id": number, **panel}
                for number, panel in enumerate(_panels(sections(cluster=plan.cluster)), start=1)
            ],
        },
        indent=1,
    )


def _variables(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "name": "datasource",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus",
        },
        {
            "name": "namespace",
            "label": "Namespace",
            "type": "query",
            "datasource": _DATASOURCE,
            "query": {"query": "label_values(redis_up, namespace)", "refId": "namespace"},
            "refresh": 2,
            "current": {"text": plan.namespace, "value": plan.namespace},
        },
    ]


def _panels(under: Mapping[str, tuple[Panel, ...]]) -> Iterator[dict[str, Any]]:
    x = y = 0
    for title, panels in under.items():
        yield {
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
        }
        x, y = 0, y + 1
        for panel in panels:
            if x + panel.width > WIDTH:
                x, y = 0, y + _HEIGHT
            yield _panel(panel) | {"gridPos": {"x": x, "y": y, "w": panel.width, "h": _HEIGHT}}
            x += panel.width
        y += _HEIGHT


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind.value,
        "title": panel.title,
        "description": panel.meaning,
        "datasource": _DATASOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _DATASOURCE,
                "expr": _expanded(query),
                "legendFormat": legend,
                "instant": panel.kind is Kind.BARS,
                "range": panel.kind is not Kind.BARS,
            }
            for number, (legend, query) in enumerate(panel.queries.items())
        ],
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "mappings": _mappings(panel.states)}
            | ({} if panel.states else {"min": 0}),
            "overrides": [],
        },
    }


def _mappings(states: Mapping[int, str]) -> list[dict[str, Any]]:
    if not states:
        return []
    words = {
        str(value): {"text": word, "color": _COLOURS.get(word, "green"), "index": index}
        for index, (value, word) in enumerate(states.items())
    }
    return [{"type": "value", "options": words}]


def _expanded(query: str) -> str:
    for short, labels in _LABELS.items():
        query = query.replace(short, labels)
    return query
