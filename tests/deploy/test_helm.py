"""The Helm chart accepts only meaningful values, and deploys what the shipped Kubernetes manifests deploy."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.deploy.test_deploy import DEPLOY, SETTINGS, VERSION, manifests

CHART = DEPLOY / "helm" / "flagent-cdc"

# A helm that was built without its release's flags assumes a Kubernetes that is too old for the chart.
TEMPLATE = ("template", "flagent-cdc", str(CHART), "--kube-version=1.30.0")

FULL: dict[str, Any] = {
    "image": {"repository": "registry.example/flagent-cdc", "tag": "1.2.3", "pullSecrets": [{"name": "pull"}]},
    "database": {"secretName": "urls", "serverKey": "reader", "ownerKey": "installer"},
    "migrate": {"grantTo": "flagent_cdc_server"},
    "settings": {"FLAGENT_CDC_AUTH_ENABLED": "true", "FLAGENT_CDC_SCHEMAS": "public,tenant_1"},
    "secretSettings": {"FLAGENT_CDC_AUTH_STREAM_TOKEN_SECRET": {"name": "tokens", "key": "secret"}},
    "podAnnotations": {"example.com/team": "flags"},
    "nodeSelector": {"kubernetes.io/arch": "arm64"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
    "autoscaling": {"enabled": True, "connectionsPerPod": 2000000},
    "nats": {"url": "nats://n1:4222,nats://n2:4222"},
    "relay": {"enabled": True, "settings": {"FLAGENT_CDC_NATS_REPLICAS": "3"}},
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True},
    "networkPolicy": {"enabled": True, "ingressFrom": [{"namespaceSelector": {}}]},
}
"""Values that turn everything on."""


def schema() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    return read


def defaults() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return read


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """What Helm makes of the chart's values and the user's: maps are merged, everything else is replaced."""
    both = dict(base)
    for name, value in over.items():
        before = both.get(name)
        both[name] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return both


def helm(*arguments: str, status: int = 0) -> str:
    program = shutil.which("helm")
    if program is None:
        pytest.skip("no helm on the PATH (go install helm.sh/helm/v3/cmd/helm@latest)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr if status else done.stdout


def rendered(directory: Path, values: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """The objects of a release called flagent-cdc, by kind and name."""
    file = directory / "values.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    text = helm(*TEMPLATE, "--namespace=flags", f"--values={file}")
    objects = [one for one in yaml.safe_load_all(text) if one]
    by_name = {(one["kind"], one["metadata"]["name"]): one for one in objects}
    assert len(by_name) == len(objects)
    assert {one["metadata"]["namespace"] for one in objects} == {"flags"}
    return by_name


def pod_of(one: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = one["spec"]["template"]["spec"]
    return pod


def selectors(one: Any) -> list[dict[str, str]]:
    """Every `matchLabels` in an object, however deep."""
    if isinstance(one, dict):
        here = [one["matchLabels"]] if "matchLabels" in one else []
        return here + [found for value in one.values() for found in selectors(value)]
    if isinstance(one, list):
        return [found for value in one for found in selectors(value)]
    return []


def test_the_schema_is_valid_and_accepts_the_defaults_and_full_values() -> None:
    jsonschema.Draft7Validator.check_schema(schema())
    jsonschema.validate(defaults(), schema())
    jsonschema.validate(merged(defaults(), FULL), schema())


@pytest.mark.parametrize(
    "wrong",
    [
        {"replica": 3},
        {"replicas": 0},
        {"replicas": "2"},
        {"database": {"url": "postgresql://owner:password@db/flagent"}},
        {"database": {"secretName": ""}},
        {"settings": {"FLAGENT_CDC_DATABASE_URL": "postgresql://owner:password@db/flagent"}},
        {"settings": {"FLAGENT_CDC_AUTH_JWT_SECRET": "x" * 32}},
        {"settings": {"FLAGENT_WS_PORT": "9090"}},
        {"settings": {"FLAGENT_SSE_MAX_CLIENTS": 20000}},
        {"settings": {"LOG_LEVEL": "info"}},
        {"secretSettings": {"FLAGENT_CDC_AUTH_JWT_SECRET": "text"}},
        {"nats": {"url": "nats://user:password@n1:4222"}},
        {"relay": {"enabled": True}},
        {"nats": {"serveFromNats": True}},
        {"image": {"digest": "sha256:abc"}},
        {"podDisruptionBudget": {"minAvailable": 0}},
        {"service": {"port": 70000}},
    ],
    ids=json.dumps,
)
def test_the_schema_refuses_values_that_cannot_work_or_would_show_a_secret(wrong: dict[str, Any]) -> None:
    assert not jsonschema.Draft7Validator(schema()).is_valid(merged(defaults(), wrong))


def test_every_named_setting_exists() -> None:
    files = [CHART / "values.yaml", CHART / "values.schema.json", *(CHART / "templates").iterdir()]
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    named = set(re.findall(r"\bFLAGENT_(?:CDC|WS|SSE)_[A-Z_]+\b", text))
    assert len(named) > 10
    assert named <= SETTINGS


def test_the_chart_has_the_version_of_the_server_and_its_files() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == chart["version"] == VERSION
    for name, original in (("dashboard.json", "grafana/flagent-cdc.json"), ("alerts.yml", "prometheus/alerts.yml")):
        assert (CHART / "files" / name).resolve() == (DEPLOY / original).resolve()


def test_kubernetes_adds_no_variables_that_the_server_would_refuse() -> None:
    assert pod_of(manifests()["Deployment"])["enableServiceLinks"] is False


@pytest.mark.parametrize("values", [{}, FULL], ids=["default", "full"])
def test_helm_lints_the_chart(values: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART), f"--values={tmp_path / 'values.yaml'}")


def test_the_defaults_deploy_what_the_manifests_deploy(tmp_path: Path) -> None:
    objects = rendered(tmp_path, {})
    assert sorted(objects) == [
        ("ConfigMap", "flagent-cdc-dashboards"),
        ("Deployment", "flagent-cdc"),
        ("Job", "flagent-cdc-migrate"),
        ("PodDisruptionBudget", "flagent-cdc"),
        ("Service", "flagent-cdc"),
    ]
    shipped, chart = manifests()["Deployment"]["spec"], objects["Deployment", "flagent-cdc"]["spec"]
    assert chart["replicas"] == shipped["replicas"]
    assert chart["strategy"] == shipped["strategy"]
    expected, pod = shipped["template"]["spec"], chart["template"]["spec"]
    # Labels differ, and the migration is a job.
    for one in (expected, pod):
        for constraint in one["topologySpreadConstraints"]:
            del constraint["labelSelector"]
    (migrate,) = expected.pop("initContainers")
    (container,) = pod["containers"]
    assert container.pop("imagePullPolicy") == "IfNotPresent"
    assert pod == expected

    job = objects["Job", "flagent-cdc-migrate"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    (installer,) = pod_of(job)["containers"]
    del installer["imagePullPolicy"]
    assert installer == migrate
    for name in ("securityContext", "automountServiceAccountToken", "enableServiceLinks"):
        assert pod_of(job)[name] == expected[name]

    service = objects["Service", "flagent-cdc"]["spec"]
    assert service["ports"] == manifests()["Service"]["spec"]["ports"]
    budget = objects["PodDisruptionBudget", "flagent-cdc"]["spec"]
    assert budget["minAvailable"] == manifests()["PodDisruptionBudget"]["spec"]["minAvailable"]


def test_full_values_render_every_object_and_select_only_pods_that_exist(tmp_path: Path) -> None:
    objects = rendered(tmp_path, FULL)
    assert sorted(objects) == [
        ("ConfigMap", "flagent-cdc-dashboards"),
        ("Deployment", "flagent-cdc"),
        ("Deployment", "flagent-cdc-relay"),
        ("HorizontalPodAutoscaler", "flagent-cdc"),
        ("Job", "flagent-cdc-migrate"),
        ("NetworkPolicy", "flagent-cdc-relay"),
        ("NetworkPolicy", "flagent-cdc-server"),
        ("PodDisruptionBudget", "flagent-cdc"),
        ("PodMonitor", "flagent-cdc"),
        ("PrometheusRule", "flagent-cdc"),
        ("Service", "flagent-cdc"),
    ]
    server, relay = objects["Deployment", "flagent-cdc"], objects["Deployment", "flagent-cdc-relay"]
    labels = {
        name: one["spec"]["template"]["metadata"]["labels"] for name, one in (("server", server), ("relay", relay))
    }
    for (kind, name), one in objects.items():
        wanted = labels["relay" if name.endswith("relay") else "server"]
        found = [*selectors(one), *([one["spec"]["selector"]] if kind == "Service" else [])]
        for selector in found:
            assert selector.items() <= wanted.items(), (kind, name)
            assert "app.kubernetes.io/component" in selector, (kind, name)
    assert "replicas" not in server["spec"]
    (metric,) = objects["HorizontalPodAutoscaler", "flagent-cdc"]["spec"]["metrics"]
    assert metric["pods"]["metric"] == {"name": "flagent_cdc_subscribers"}
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "2000000"}

    (serve,), (copy,) = pod_of(server)["containers"], pod_of(relay)["containers"]
    (install,) = pod_of(objects["Job", "flagent-cdc-migrate"])["containers"]
    assert {one["image"] for one in (serve, copy, install)} == {"registry.example/flagent-cdc:1.2.3"}
    assert install["args"] == ["migrate", "--grant-to", "flagent_cdc_server"]
    environment = {one["name"]: one.get("value", one.get("valueFrom")) for one in (*install["env"], *serve["env"])}
    assert environment["FLAGENT_CDC_SCHEMAS"] == "public,tenant_1"
    assert environment["FLAGENT_CDC_AUTH_STREAM_TOKEN_SECRET"] == {"secretKeyRef": {"name": "tokens", "key": "secret"}}
    assert environment["FLAGENT_CDC_DATABASE_URL"] == {"secretKeyRef": {"name": "urls", "key": "reader"}}
    assert install["env"][0]["valueFrom"] == {"secretKeyRef": {"name": "urls", "key": "installer"}}
    assert {"name": "FLAGENT_CDC_NATS_URL", "value": "nats://n1:4222,nats://n2:4222"} in copy["env"]
    (shipped,) = pod_of(manifests()["Deployment"])["containers"]
    for one in (serve, copy, install):
        assert one["securityContext"] == shipped["securityContext"]
        assert {each["name"] for each in one["env"]} <= SETTINGS

    dashboard = objects["ConfigMap", "flagent-cdc-dashboards"]["data"]["flagent-cdc.json"]
    assert json.loads(dashboard) == json.loads((DEPLOY / "grafana/flagent-cdc.json").read_text(encoding="utf-8"))
    alerts = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text(encoding="utf-8"))
    assert objects["PrometheusRule", "flagent-cdc"]["spec"] == alerts


def test_servers_that_read_from_nats_get_no_database_url_and_no_way_to_the_database(tmp_path: Path) -> None:
    objects = rendered(tmp_path, merged(FULL, {"nats": {"serveFromNats": True}}))
    (serve,) = pod_of(objects["Deployment", "flagent-cdc"])["containers"]
    assert {"name": "FLAGENT_CDC_SOURCE", "value": FULL["nats"]["url"]} in serve["env"]
    assert "FLAGENT_CDC_DATABASE_URL" not in {one["name"] for one in serve["env"]}
    rules = objects["NetworkPolicy", "flagent-cdc-server"]["spec"]["egress"]
    assert [port["port"] for rule in rules for port in rule["ports"]] == [53, 53, 4222]


def test_a_single_server_has_no_disruption_budget_that_would_block_every_drain(tmp_path: Path) -> None:
    assert ("PodDisruptionBudget", "flagent-cdc") not in rendered(tmp_path, {"replicas": 1})


def test_helm_refuses_what_the_schema_refuses(tmp_path: Path) -> None:
    assert "replica" in helm(*TEMPLATE, "--set=replica=3", status=1)
    scaling = "--set=autoscaling.enabled=true,autoscaling.minReplicas=5,autoscaling.maxReplicas=2"
    assert "maxReplicas is less" in helm(*TEMPLATE, scaling, status=1)
