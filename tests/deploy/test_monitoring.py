"""The alerts and the dashboard use only metrics that a real server exports, and Prometheus accepts every query."""

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.fixtures.flags import Writer
from tests.fixtures.server import RunningServer, until

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
ALERT_TESTS = DEPLOY / "prometheus" / "alerts_test.yml"
DASHBOARD = DEPLOY / "grafana" / "flagent-cdc.json"

_NAME = re.compile(r"\b(?:flagent_cdc|process)_[a-z0-9_]+\b")

# Grafana substitutes these.
_VARIABLES = {"$__rate_interval": "5m", "$job": "flagent-cdc", "$instance": ".*"}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def queries() -> Iterator[str]:
    """Every query of the dashboard, as Grafana sends it."""
    for panel in panels():
        for target in panel["targets"]:
            text = str(target["expr"])
            for variable, value in _VARIABLES.items():
                text = text.replace(variable, value)
            yield text


def promtool(*arguments: str, directory: Path) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool on the PATH (Debian: prometheus)")
    done = subprocess.run([program, *arguments], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def test_every_queried_metric_is_exported_by_a_server(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("a")
    async with httpx.AsyncClient() as client:
        assert (await client.get(server.stream_url + "?type=nothing")).status_code == 400
        await until(lambda: server.pipeline.hub.counters.latency.sum, "the first event")
        text = (await client.get(server.url + "/metrics")).text
    exported = {sample.name for family in parse(text) for sample in family.samples}
    variables = json.loads(DASHBOARD.read_text())["templating"]["list"]
    texts = [rule["expr"] for rule in rules()] + list(queries()) + [str(one.get("query")) for one in variables]
    queried = {name for text in texts for name in _NAME.findall(text)}
    assert len(queried) > 30
    assert queried <= exported


def test_prometheus_accepts_the_alert_rules() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", ALERTS.name, directory=ALERTS.parent)


def test_the_alerts_fire_when_they_should() -> None:
    assert "SUCCESS" in promtool("test", "rules", ALERT_TESTS.name, directory=ALERT_TESTS.parent)


def test_every_alert_fires_in_a_test() -> None:
    fired = {
        one["alertname"]
        for test in yaml.safe_load(ALERT_TESTS.read_text())["tests"]
        for one in test["alert_rule_test"]
        if one["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in rules()}


def test_every_query_of_the_dashboard_is_valid(tmp_path: Path) -> None:
    recorded = [{"record": f"panel_{number}", "expr": query} for number, query in enumerate(queries())]
    (tmp_path / "dashboard.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    output = promtool("check", "rules", "dashboard.yml", directory=tmp_path)
    assert f"{len(recorded)} rules found" in output


def test_an_invalid_query_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_text("groups: [{name: g, rules: [{record: r, expr: 'rate(x)'}]}]")
    if shutil.which("promtool") is None:
        pytest.skip("no promtool on the PATH (Debian: prometheus)")
    with pytest.raises(AssertionError, match="expected type range vector"):
        promtool("check", "rules", "bad.yml", directory=tmp_path)


def test_the_dashboards_panels_do_not_overlap() -> None:
    every = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    for one, other in itertools.combinations((panel["gridPos"] for panel in every), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in every)
