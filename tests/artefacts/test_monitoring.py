"""deploy/monitoring: what promtool says of it, and that no metric in it is invented."""

from __future__ import annotations

import json
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
GROUPS = objects("rules.yaml")[0]["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
CASES = objects("rules_test.yaml")[0]["tests"]
DASHBOARD = json.loads((DEPLOYED / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [rule["expr"] for rule in RULES] + [
    target["expr"] for panel in PANELS for target in panel["targets"]
]
JOBS = {"redis": ("primary", "replica"), "redis-sentinel": ("sentinel",)} | {
    "aragora-gateway": ("gateway",)
}
SCRAPED = {
    job: [sample for name in names for sample in samples((SCRAPES / f"{name}.prom").read_text())]
    for job, names in JOBS.items()
}

needs_promtool = needs("promtool")


def promtool(*arguments):
    command = [str(program("promtool")), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_is_committed_is_what_the_defaults_render():
    rendered = render(Kind.MONITORING, Plan())
    assert rendered == {path.name: path.read_text("utf-8") for path in DEPLOYED.iterdir()}


@needs_promtool
def test_prometheus_takes_the_configuration_and_the_rules(tmp_path):
    shutil.copytree(DEPLOYED, tmp_path, dirs_exist_ok=True)
    (tmp_path / "gateway-token").write_text("token")
    for arguments in (
        ("check", "config", tmp_path / "prometheus.yml"),
        ("check", "rules", tmp_path / "rules.yaml"),
    ):
        said = promtool(*arguments)
        assert said.returncode == 0, said.stdout + said.stderr


@needs_promtool
@pytest.mark.parametrize(
    ("plan", "interval"),
    [(Plan(), "15s"), (Plan(namespace="other", nodes=5), "1m")],
    ids=["the defaults", "five nodes, more coarsely"],
)
def test_each_alert_fires_when_it_should_and_only_then(tmp_path, plan, interval):
    for name, text in render(Kind.MONITORING, plan).items():
        (tmp_path / name).write_text(text)
    tests = tmp_path / "rules_test.yaml"
    # Each evaluation costs the same; for how long an alert waits, the defaults have told.
    tests.write_text(
        tests.read_text().replace("evaluation_interval: 15s", f"evaluation_interval: {interval}")
    )
    said = promtool("test", "rules", tests)
    assert said.returncode == 0, said.stdout + said.stderr


def cases_of(alert):
    """What the cases that ask for an alert expect."""
    return [
        asked["exp_samples"]
        for case in CASES
        for asked in case["promql_expr_test"]
        if f'alertname="{alert}"' in asked["expr"]
    ]


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_a_case_of_both_kinds(alert):
    expected = cases_of(alert)
    assert [] in expected
    assert any(expected)


@needs_promtool
@pytest.mark.parametrize(
    ("expression", "wrong"),
    [("vector(0) > 1", True), ("vector(1)", False)],
    ids=["never", "always"],
)
def test_a_rule_that_is_broken_fails_its_case(tmp_path, expression, wrong):
    """A rule that never fires fails the cases in which it must, and the other way round."""
    broken = [{**rule, "expr": expression, "for": "0s"} for rule in ALERTS.values()]
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "broken", "rules": broken}]})
    )
    for case in (cases := objects("rules_test.yaml")[0])["tests"]:
        case["promql_expr_test"][0]["eval_time"] = "0m"
    (tmp_path / "rules_test.yaml").write_text(yaml.safe_dump(cases))
    said = promtool("test", "rules", tmp_path / "rules_test.yaml")
    failed = re.findall(r'alertname=\\"(\w+)\\".*\n\s+exp: (.*)', said.stderr)
    assert {alert for alert, expected in failed if (expected != "nil") is wrong} == set(ALERTS)


@needs_promtool
def test_annotations_read_as_sentences(tmp_path):
    """promtool prints the alerts that it did not expect, with their texts filled in."""
    shutil.copy(DEPLOYED / "rules.yaml", tmp_path)
    fires = [case for case in CASES if case["promql_expr_test"][0]["exp_samples"]]
    for case in fires:
        alert = case["name"].split()[0]
        del case["promql_expr_test"]
        case["alert_rule_test"] = [{"eval_time": "15m", "alertname": alert, "exp_alerts": []}]
    tests = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": fires}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))
    said = promtool("test", "rules", tmp_path / "tests.yaml").stderr
    assert {alert for alert in ALERTS if f'alertname="{alert}"' in said} == set(ALERTS)
    for broken in ("error expanding", "no value", "{{", "%!", "NaN"):
        assert broken not in said


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_says_what_to_do_and_leads_to_a_section_that_exists(alert):
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text("utf-8"), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_each_metric_and_label_occurs_in_a_real_scrape(expression):
    asked = list(selectors(expression))
    assert asked
    for selector in asked:
        if selector.metric in RECORDED | {"up"}:
            continue
        assert selector.job, f"{selector.metric} of any job"
        found = [
            labels
            for job, scraped in SCRAPED.items()
            if re.fullmatch(selector.job, job)
            for name, labels in scraped
            if name == selector.metric and selector.takes(labels)
        ]
        assert found, selector


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
    with pytest.raises(AssertionError):
        test_each_metric_and_label_occurs_in_a_real_scrape(expression)


def test_the_selectors_of_an_expression():
    found = selectors(
        'max by (a, b) (x{k="1"} - on (a) group_left () rate(y[5m])) > 2 '
        'or z unless on (c) w{l=~"p|q"}'
    )
    assert [selector.metric for selector in found] == ["x", "y", "z", "w"]


def test_the_operator_is_given_the_same_rules():
    (rule,) = objects("prometheusrule.yaml")
    assert rule["spec"]["groups"] == GROUPS


def test_the_guides_names_are_recorded():
    assert {"redis_replication_lag", "redis_master_link_status"} <= RECORDED


def test_kubernetes_takes_the_exporter():
    for each in objects("redis-exporter.yaml"):
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("name", ["servicemonitor.yaml", "prometheusrule.yaml"])
def test_the_operator_takes_its_objects(name):
    for each in objects(name):
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


def test_the_dashboard_can_be_imported():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells
    for panel in PANELS:
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(each == {"type": "prometheus", "uid": "${datasource}"} for each in sources)
        assert panel["targets"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert [each["name"] for each in DASHBOARD["templating"]["list"]] == ["datasource", "namespace"]
