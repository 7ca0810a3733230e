"""Metrics without a server: the manual's page, the names, and what several workers report."""

import json
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families as parse

from cdc.observe.metrics import FAMILIES, PREFIX, Sample, exposition, reference

ROOT = Path(__file__).parents[3]

UP: Sample = ("worker_up", "", {}, 1.0)


def samples(workers: dict[int, list[Sample] | None]) -> dict[tuple[str, str], float]:
    """The exposed samples by name and worker."""
    text, _ = exposition(workers, "text/plain")
    return {
        (sample.name.removeprefix(PREFIX), sample.labels["worker"]): sample.value
        for family in parse(text.decode())
        for sample in family.samples
    }


def test_every_sample_names_its_worker() -> None:
    assert samples({0: [UP, ("deliveries", "", {"lane": "flags"}, 3.0)], 1: [UP]}) == {
        ("worker_up", "0"): 1.0,
        ("worker_up", "1"): 1.0,
        ("deliveries_total", "0"): 3.0,
    }


def test_of_a_worker_that_did_not_answer_only_worker_up_is_exposed() -> None:
    assert samples({0: [UP], 1: None}) == {("worker_up", "0"): 1.0, ("worker_up", "1"): 0.0}


def test_a_histogram_keeps_its_suffixes() -> None:
    name = "commit_to_send_seconds"
    latency: list[Sample] = [
        (name, "_bucket", {"le": "+Inf"}, 2.0),
        (name, "_count", {}, 2.0),
        (name, "_sum", {}, 0.5),
    ]
    assert {found for found, _ in samples({0: latency})} == {f"{name}_bucket", f"{name}_count", f"{name}_sum"}


def test_the_accept_header_chooses_the_format() -> None:
    assert exposition({0: [UP]}, "text/plain")[1].startswith("text/plain; version=")
    text, content_type = exposition({0: [UP]}, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")


def test_the_page_lists_every_metric_under_its_exposed_name() -> None:
    rows = [line.split("`")[1] for line in reference().splitlines() if line.startswith("| `")]
    assert [family.exposed for family in FAMILIES] == rows[: len(FAMILIES)]
    assert len(set(rows)) == len(rows)


def test_the_manual_is_current() -> None:
    assert (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8") == reference()


def test_names_and_units_are_by_the_rules() -> None:
    """https://prometheus.io/docs/practices/naming/: base units, in the plural, at the end."""
    for family in FAMILIES:
        assert not any(unit in family.name for unit in ("_ms", "milli", "_kb", "minutes")), family.name
        assert not family.name.endswith("_total"), "added for counters alone"
        assert len(json.dumps(family.text)) > 5
