"""deploy/ and the compose file against the code: what they name is there, and what must be said is said."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from support.pages import OPERATIONS, section, table

from memsched import AsyncMemScheduler, Settings
from memsched.metrics.prometheus import Numbers
from memsched.service.routes.scheduler import Scaling
from memsched.settings import PREFIX

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = [
    rule for group in yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/memsched.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [rule["expr"] for rule in RULES] + [each["expr"] for panel in PANELS for each in panel["targets"]]
RESOURCES = {
    (found["kind"], found["metadata"]["name"]): found
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for found in yaml.safe_load_all(file.read_text())
    if "metadata" in found
}
DEPLOYMENTS = [found for (kind, _), found in RESOURCES.items() if kind == "Deployment"]
_OWN_TO_AN_INSTANCE = "memsched_http_"
_MADE_OF = re.compile(r"_(bucket|count|sum)$")


def names_in(query: str) -> set[str]:
    return set(re.findall(r"\bmemsched_\w+", query))


# -- Prometheus and Grafana ----------------------------------------------------------------------------------------


async def test_each_metric_that_is_asked_for_is_printed() -> None:
    scheduler = AsyncMemScheduler(Settings(redis_url=f"memory://{uuid4()}", memory=False))
    try:
        text = (await Numbers(scheduler).text()).decode()
    finally:
        await scheduler.stop()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))

    assert len(set().union(*map(names_in, QUERIES))) > 15
    for query in QUERIES:
        for function, name in re.findall(r"(?:\b(\w+)\()?\b(memsched_\w+)", query):
            kind = kinds.get(name) or {"histogram": "counter"}.get(kinds.get(_MADE_OF.sub("", name), ""))
            assert kind, name
            assert (function in ("rate", "increase")) == (kind == "counter"), f"{query}: {name} is a {kind}"


def test_each_label_that_is_asked_for_is_one_of_its_metric() -> None:
    labels = {
        name: set(re.findall(r"`(\w+)`", given)) | {"le"}
        for names, given, _ in table(section(OPERATIONS, "### Prometheus"), "name")
        for name in re.findall(r"`(memsched_\w+)`", names)
    }
    for query in QUERIES:
        known = set().union(*(labels[_MADE_OF.sub("", name)] for name in names_in(query)))
        used = {each.strip() for by in re.findall(r"by \(([^)]*)\)", query) for each in by.split(",")}
        used |= set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', query)) - {"job"}
        assert used <= known, query


@pytest.mark.parametrize("query", [query for query in QUERIES if names_in(query)])
def test_what_replicas_share_is_taken_once_and_what_is_their_own_is_summed(query: str) -> None:
    wanted = "sum" if _OWN_TO_AN_INSTANCE in query else "max"
    for found in re.finditer(r"\b(?:rate\(|increase\(|deriv\()?(memsched_\w+)", query):
        before = query[: found.start()]
        aggregated = re.search(r"(\w+)(?: by \([^)]*\))?\s*\(\s*$", before)
        assert aggregated, query
        assert aggregated[1] == wanted, query


def test_each_alert_says_what_it_is_and_where_to_read_on() -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in re.findall(r"^#+ (.*)$", page, re.M)}
    told = {name.strip("`") for name, *_ in table(section(OPERATIONS, "### The alerts"), "alert")}

    assert told == {rule["alert"] for rule in RULES}
    for rule in RULES:
        assert rule["annotations"]["summary"].endswith("."), rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        place, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (ROOT / place).is_file()
        assert not anchor or anchor in anchors, rule["annotations"]["runbook"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (apt: prometheus)")
@pytest.mark.parametrize("what", ["config", "rules"])
def test_promtool_accepts(what: str, tmp_path: Path) -> None:
    for name in ("prometheus.yml", "rules.yml"):
        text = (DEPLOY / "prometheus" / name).read_text()
        (tmp_path / name).write_text(text.replace("/run/secrets/metrics-key", str(tmp_path / "rules.yml")))
    file = {"config": "prometheus.yml", "rules": "rules.yml"}[what]

    checked = subprocess.run(
        ["promtool", "check", what, str(tmp_path / file)], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(RULES)} rules found" in checked.stdout


def test_panels_stand_beside_each_other() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    places = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(set(ids)) == len(ids)
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24
    for panel in PANELS:
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]


def test_grafana_finds_what_is_mounted() -> None:
    volumes = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]["volumes"]
    mounted = dict(volume.split(":")[:2] for volume in volumes if volume.startswith("./"))
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/memsched.yml").read_text())

    assert mounted["./deploy/grafana/dashboards"] == provider["providers"][0]["options"]["path"]
    assert all((ROOT / place).is_dir() for place in mounted)


# -- Kubernetes ----------------------------------------------------------------------------------------------------


def test_every_resource_says_what_it_is_and_where_it_belongs() -> None:
    kustomization = yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text())

    assert {kind for kind, _ in RESOURCES} == {
        *("ConfigMap", "Deployment", "Service", "PodDisruptionBudget"),
        *("ScaledObject", "TriggerAuthentication", "PodMonitor"),
    }
    assert all((DEPLOY / "kubernetes" / name).is_file() for name in kustomization["resources"])
    for found in RESOURCES.values():
        assert re.fullmatch(r"(apps/|policy/|keda\.sh/|monitoring\.coreos\.com/)?v1(alpha1)?", found["apiVersion"])


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda found: found["metadata"]["name"])
def test_a_pod_may_do_little_says_how_it_is_and_has_time_to_stop(deployment: dict[str, Any]) -> None:
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    grace = float(RESOURCES["ConfigMap", "memsched"]["data"]["MEMSCHED_GRACE_SECONDS"])

    assert pod["terminationGracePeriodSeconds"] >= grace + 20 + (5 if "lifecycle" in container else 0)
    assert pod["enableServiceLinks"] is False, "Kubernetes would set MEMSCHED_API_PORT and its like"
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001, "as in the Dockerfile"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert container["resources"]["limits"].keys() == {"memory"}
    assert {volume["name"] for volume in pod["volumes"]} == {mount["name"] for mount in container["volumeMounts"]}
    assert deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
    budget = RESOURCES["PodDisruptionBudget", deployment["metadata"]["name"]]
    assert budget["spec"]["selector"]["matchLabels"] == deployment["spec"]["selector"]["matchLabels"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda found: found["metadata"]["name"])
def test_its_variables_are_settings_and_its_secrets_stand_elsewhere(deployment: dict[str, Any]) -> None:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    plain = dict(RESOURCES["ConfigMap", "memsched"]["data"])
    plain |= {each["name"]: each["value"] for each in container["env"] if "value" in each}
    secret = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each}
    given = {name.removeprefix(PREFIX).lower(): value for name, value in plain.items()}

    assert container["envFrom"] == [{"configMapRef": {"name": "memsched"}}]
    assert given.keys() | {name.removeprefix(PREFIX).lower() for name in secret} <= Settings.model_fields.keys()
    Settings.load(**given)
    assert {"MEMSCHED_REDIS_URL", "MEMSCHED_QDRANT_API_KEY"} <= secret.keys()
    assert not any("KEY" in name or "password" in str(value) for name, value in plain.items())


def test_probes_ask_what_the_service_answers() -> None:
    (api,) = RESOURCES["Deployment", "memsched-api"]["spec"]["template"]["spec"]["containers"]
    (worker,) = RESOURCES["Deployment", "memsched-worker"]["spec"]["template"]["spec"]["containers"]
    service = RESOURCES["Service", "memsched-api"]["spec"]

    (port,) = api["ports"]
    assert {name: api[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")} == {
        "startup": {"path": "/healthz", "port": port["name"]},
        "liveness": {"path": "/healthz", "port": port["name"]},
        "readiness": {"path": "/readyz", "port": port["name"]},
    }
    listen = {each["name"]: each.get("value") for each in api["env"]}["MEMSCHED_LISTEN"]
    assert listen == f"0.0.0.0:{port['containerPort']}"
    assert service["ports"] == [{"name": "http", "port": port["containerPort"], "targetPort": port["name"]}]
    assert worker["livenessProbe"]["exec"]["command"] == ["memsched", "live"]


def test_keda_asks_for_what_is_ready_and_has_an_answer_when_it_gets_none() -> None:
    scaled = RESOURCES["ScaledObject", "memsched-worker"]["spec"]
    (trigger,) = scaled["triggers"]
    asked = trigger["metadata"]
    authentication = RESOURCES["TriggerAuthentication", trigger["authenticationRef"]["name"]]["spec"]
    hosts = RESOURCES["ConfigMap", "memsched"]["data"]["MEMSCHED_ALLOWED_HOSTS"].split(",")

    assert scaled["scaleTargetRef"]["name"] == "memsched-worker"
    assert trigger["type"] == "metrics-api"
    assert trigger["metricType"] == "AverageValue", "a fallback is of nothing else"
    assert scaled["fallback"]["replicas"] >= 1
    assert asked["valueLocation"] in Scaling.model_fields
    assert asked["activationTargetValue"] == "0"
    assert asked["authMode"] == "bearer"
    assert authentication["secretTargetRef"][0]["parameter"] == "token"
    url = re.fullmatch(r"http://([\w.-]+):(\d+)(/v1/scheduler/scaling)", asked["url"])
    assert url
    assert url[1] in hosts
    assert all(isinstance(value, str) for value in asked.values()), "metadata is text"


# -- compose -------------------------------------------------------------------------------------------------------


def services() -> Iterator[tuple[str, dict[str, Any]]]:
    yield from yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].items()


def test_the_service_of_the_compose_file_is_a_worker_image_that_serves() -> None:
    found = dict(services())
    api, worker = found["api"], found["worker"]

    assert api["command"] == ["memsched", "serve"]
    assert api["environment"] == {**worker["environment"], "MEMSCHED_LISTEN": "0.0.0.0:8765"}
    assert api["stop_grace_period"] == worker["stop_grace_period"]
    assert api["image"] == worker["image"]


def test_no_port_is_published_beyond_this_machine() -> None:
    published = [port for _, service in services() for port in service.get("ports", [])]

    assert len(published) == 3
    assert all(re.match(r"\$\{\w+:-127\.0\.0\.1:\d+\}:\d+$", port) for port in published)


def test_monitoring_is_started_only_where_it_is_asked_for() -> None:
    profiles = {name: service.get("profiles") for name, service in services()}

    assert {name for name, given in profiles.items() if given == ["monitoring"]} == {"prometheus", "grafana"}
