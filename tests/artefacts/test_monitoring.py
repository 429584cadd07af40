"""deploy/monitoring: what promtool says of it, and that no metric in it is invented."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml
from tests.artefacts.programs import needs, program
from tests.artefacts.promql import samples, selectors
from tests.artefacts.scrape import SCRAPES
from tests.artefacts.site import DEPLOYED, objects

from aragora_redis.ops.manifests import Kind, Plan, render

ROOT = DEPLOYED.parents[1]
OPERATOR = json.loads((Path(__file__).parent / "operators.json").read_text())
SCRAPED_OF: dict[str, dict[str, tuple[str, ...]]] = {
    "sentinel": {"redis": ("primary", "replica"), "redis-sentinel": ("sentinel",)},
    "cluster": {"redis": ("cluster-primary", "cluster-replica")},
}


def read(name):
    return samples((SCRAPES / f"{name}.prom").read_text())


class Watch:
    """What watches one form of Redis."""

    def __init__(self, form):
        self.form = form
        self.folder = "" if form == "sentinel" else f"{form}/"
        self.groups = self.objects("rules.yaml")[0]["groups"]
        self.rules = [rule for group in self.groups for rule in group["rules"]]
        self.alerts = {rule["alert"]: rule for rule in self.rules if "alert" in rule}
        self.recorded = {rule["record"] for rule in self.rules if "record" in rule}
        self.dashboard = json.loads((DEPLOYED / self.folder / "dashboard.json").read_text())
        self.panels = [panel for panel in self.dashboard["panels"] if panel["type"] != "row"]
        self.expressions = [rule["expr"] for rule in self.rules] + [
            target["expr"] for panel in self.panels for target in panel["targets"]
        ]
        jobs = SCRAPED_OF[form] | {"aragora-gateway": ("gateway",)}
        self.scraped = {
            job: [
                each for name in names for each in samples((SCRAPES / f"{name}.prom").read_text())
            ]
            for job, names in jobs.items()
        }

    def objects(self, name):
        return objects(f"{self.folder}{name}")

    def cases(self):
        return self.objects("rules_test.yaml")[0]["tests"]

    def __repr__(self):
        return self.form


WATCHES = [Watch(form) for form in SCRAPED_OF]
each_form = pytest.mark.parametrize("watch", WATCHES, ids=repr)
each_alert = pytest.mark.parametrize(
    ("watch", "alert"),
    [pytest.param(watch, name, id=f"{watch}-{name}") for watch in WATCHES for name in watch.alerts],
)

needs_promtool = needs("promtool")


def promtool(*arguments):
    command = [str(program("promtool")), *map(str, arguments)]
    # By default it collects its garbage so often that this is a third of its work.
    env = os.environ | {"GOGC": "400"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_what_is_committed_is_what_the_defaults_render():
    rendered = render(Kind.MONITORING, Plan())
    files = (path for path in DEPLOYED.rglob("*") if path.is_file())
    assert rendered == {str(p.relative_to(DEPLOYED)): p.read_text("utf-8") for p in files}


@needs_promtool
@each_form
def test_prometheus_takes_the_configuration_and_the_rules(watch, tmp_path):
    shutil.copytree(DEPLOYED / watch.folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "gateway-token").write_text("token")
    for arguments in (
        ("check", "config", tmp_path / "prometheus.yml"),
        ("check", "rules", tmp_path / "rules.yaml"),
    ):
        said = promtool(*arguments)
        assert said.returncode == 0, said.stdout + said.stderr


@needs_promtool
@pytest.mark.parametrize(
    ("folder", "plan", "interval"),
    [
        ("", Plan(), "30s"),
        ("", Plan(namespace="other", nodes=5), "1m"),
        ("cluster", Plan.of_cluster(), "30s"),
        ("cluster", Plan.of_cluster(namespace="other", nodes=8), "1m"),
    ],
    ids=["the defaults", "five nodes", "a cluster", "a cluster of eight"],
)
def test_each_alert_fires_when_it_should_and_only_then(tmp_path, folder, plan, interval):
    for name, text in render(Kind.MONITORING, plan).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    tests = tmp_path / folder / "rules_test.yaml"
    # Each evaluation costs the same; for how long an alert waits, the defaults have told.
    tests.write_text(
        tests.read_text().replace("evaluation_interval: 30s", f"evaluation_interval: {interval}")
    )
    said = promtool("test", "rules", tests)
    assert said.returncode == 0, said.stdout + said.stderr


@each_alert
def test_each_alert_has_a_case_of_both_kinds(watch, alert):
    expected = [
        asked["exp_samples"]
        for case in watch.cases()
        for asked in case["promql_expr_test"]
        if f'alertname="{alert}"' in asked["expr"]
    ]
    assert [] in expected
    assert any(expected)


@needs_promtool
@pytest.mark.parametrize(
    ("expression", "wrong"),
    [("vector(0) > 1", True), ("vector(1)", False)],
    ids=["never", "always"],
)
@each_form
def test_a_rule_that_is_broken_fails_its_case(watch, tmp_path, expression, wrong):
    """A rule that never fires fails the cases in which it must, and the other way round."""
    broken = [{**rule, "expr": expression, "for": "0s"} for rule in watch.alerts.values()]
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "broken", "rules": broken}]})
    )
    for case in (cases := watch.objects("rules_test.yaml")[0])["tests"]:
        case["promql_expr_test"][0]["eval_time"] = "0m"
    (tmp_path / "rules_test.yaml").write_text(yaml.safe_dump(cases))
    said = promtool("test", "rules", tmp_path / "rules_test.yaml")
    failed = re.findall(r'alertname=\\"(\w+)\\".*\n\s+exp: (.*)', said.stderr)
    assert {alert for alert, expected in failed if (expected != "nil") is wrong} == set(
        watch.alerts
    )


@needs_promtool
@each_form
def test_annotations_read_as_sentences(watch, tmp_path):
    """promtool prints the alerts that it did not expect, with their texts filled in."""
    shutil.copy(DEPLOYED / watch.folder / "rules.yaml", tmp_path)
    fires = [case for case in watch.cases() if case["promql_expr_test"][0]["exp_samples"]]
    for case in fires:
        alert = case["name"].split()[0]
        del case["promql_expr_test"]
        case["alert_rule_test"] = [{"eval_time": "15m", "alertname": alert, "exp_alerts": []}]
    tests = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": fires}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))
    said = promtool("test", "rules", tmp_path / "tests.yaml").stderr
    assert {a for a in watch.alerts if f'alertname="{a}"' in said} == set(watch.alerts)
    for broken in ("error expanding", "no value", "{{", "%!", "NaN"):
        assert broken not in said


@each_alert
def test_each_alert_says_what_to_do_and_leads_to_a_section_that_exists(watch, alert):
    rule = watch.alerts[alert]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text("utf-8"), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


def unknown(watch, expression):
    """What an expression asks for and no scrape has."""
    asked = list(selectors(expression))
    assert asked
    for selector in asked:
        if selector.metric in watch.recorded | {"up"}:
            continue
        found = [
            labels
            for job, scraped in watch.scraped.items()
            if selector.job and re.fullmatch(selector.job, job)
            for name, labels in scraped
            if name == selector.metric and selector.takes(labels)
        ]
        if not found:
            yield selector


@each_form
def test_each_metric_and_label_occurs_in_a_real_scrape(watch):
    assert [each for query in watch.expressions for each in unknown(watch, query)] == []


@pytest.mark.parametrize(
    "expression",
    [
        'redis_replication_lag_seconds{job="redis"} > 1',
        'redis_tilt{job="redis-sentinel"}',
        'redis_sentinel_tilt{job="redis"}',
        'rate(aragora_redis_decisions_total{job="aragora-gateway", source="x"}[5m]) / 2',
    ],
)
def test_an_invented_metric_is_noticed(expression):
    assert list(unknown(WATCHES[0], expression))


def test_the_selectors_of_an_expression():
    found = selectors(
        'max by (a, b) (x{k="1"} - on (a) group_left () rate(y[5m])) > 2 '
        'or z unless on (c) w{l=~"p|q"}'
    )
    assert [selector.metric for selector in found] == ["x", "y", "z", "w"]


@each_form
def test_the_operator_is_given_the_same_rules(watch):
    (rule,) = watch.objects("prometheusrule.yaml")
    assert rule["spec"]["groups"] == watch.groups


@each_form
def test_the_guides_names_are_recorded(watch):
    assert {"redis_replication_lag", "redis_master_link_status"} <= watch.recorded


def test_what_watches_a_cluster_asks_no_sentinel():
    files = {path.name: path.read_text("utf-8") for path in (DEPLOYED / "cluster").iterdir()}
    # Its cases may name what must not matter.
    del files["rules_test.yaml"]
    assert not [name for name, text in files.items() if "entinel" in text]


def test_kubernetes_takes_the_exporter():
    for each in objects("redis-exporter.yaml"):
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


@each_form
@pytest.mark.parametrize("name", ["servicemonitor.yaml", "prometheusrule.yaml"])
def test_the_operator_takes_its_objects(watch, name):
    for each in watch.objects(name):
        jsonschema.validate(each, OPERATOR[each["kind"]])


def test_a_field_that_the_operator_does_not_know_is_noticed():
    monitor, *_ = objects("servicemonitor.yaml")
    monitor["spec"]["endpoints"][0]["intervall"] = "15s"
    with pytest.raises(jsonschema.ValidationError, match="intervall"):
        jsonschema.validate(monitor, OPERATOR["ServiceMonitor"])


def test_who_selects_whom():
    deployment, alone = objects("redis-exporter.yaml")
    services = objects("../k8s/redis/base/services.yaml")
    (beside,) = (each for each in services if each["metadata"]["name"] == "redis-metrics")
    pods = objects("../k8s/redis/base/statefulset.yaml")[0]["spec"]["template"]
    servers, sentinels, gateways = objects("servicemonitor.yaml")
    pod = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == alone["spec"]["selector"] == pod
    assert beside["spec"]["selector"].items() <= pods["metadata"]["labels"].items()
    assert beside["spec"]["publishNotReadyAddresses"], "a server that is down would be none at all"
    for monitor, found in ((servers, [alone, beside]), (sentinels, [beside])):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        assert [s for s in (alone, beside) if wanted <= s["metadata"]["labels"].items()] == found
        (endpoint,) = monitor["spec"]["endpoints"]
        assert (endpoint["port"], endpoint["interval"]) == ("metrics", "15s")
        jobs = [each for each in endpoint["relabelings"] if each["targetLabel"] == "job"]
        assert [each["replacement"] for each in jobs] == [monitor["metadata"]["name"]]
    assert gateways["spec"]["selector"]["matchLabels"] == {"app": "aragora-gateway"}
    for template in (deployment["spec"]["template"], pods):
        exporter = template["spec"]["containers"][-1]
        assert exporter["ports"] == [{"name": "metrics", "containerPort": 9121}]
    assert {each["port"] for service in (alone, beside) for each in service["spec"]["ports"]} == {
        9121
    }


def test_the_exporter_of_a_pod_is_sent_to_its_own_server_and_sentinel():
    pods = objects("../k8s/redis/base/statefulset.yaml")[0]["spec"]["template"]
    exporter = pods["spec"]["containers"][-1]
    sources = {each["name"]: each.get("valueFrom") for each in exporter["env"]}
    (scheme,) = pods["metadata"]["annotations"]
    assert sources["REDIS_SCHEME"] == {
        "fieldRef": {"fieldPath": f"metadata.annotations['{scheme}']"}
    }
    assert "-redis.addr=$(REDIS_SCHEME)://localhost:6379" in exporter["args"]
    relabelings = objects("servicemonitor.yaml")[1]["spec"]["endpoints"][0]["relabelings"]
    (target,) = (each for each in relabelings if each["targetLabel"] == "__param_target")
    kept = scheme.replace("-", "_")
    assert target["sourceLabels"] == [f"__meta_kubernetes_pod_annotation_{kept}"]
    assert target["replacement"] == "$1://localhost:26379"


def test_every_node_of_a_cluster_is_scraped():
    service = objects("../k8s/redis/overlays/cluster/services.yaml")[1]
    servers, gateways = objects("cluster/servicemonitor.yaml")
    assert (
        servers["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    )
    assert gateways["kind"] == "PodMonitor"
    (config,) = objects("cluster/prometheus.yml")
    nodes, gateway = config["scrape_configs"]
    assert nodes["static_configs"][0]["targets"] == [f"redis-{n}:6379" for n in range(6)]
    assert (nodes["job_name"], gateway["job_name"]) == ("redis", "aragora-gateway")


@each_form
def test_the_dashboard_can_be_imported(watch):
    ids = [panel["id"] for panel in watch.dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in watch.dashboard["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells
    for panel in watch.panels:
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(each == {"type": "prometheus", "uid": "${datasource}"} for each in sources)
        assert panel["targets"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert [each["name"] for each in watch.dashboard["templating"]["list"]] == [
        "datasource",
        "namespace",
    ]
