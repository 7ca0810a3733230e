"""Evaluation of what the catalog holds, from rows to rendered answers."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cdc.core.errors import InvalidInput
from cdc.core.flags.catalog import Catalog
from cdc.core.log.position import Position
from cdc.evaluation.evaluator import Evaluator
from tests.cdc.core.flagent import LOG, Flagent, Observed

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "evaluation_vectors.json").read_text("utf-8"))
DELETED = "2026-03-27T09:00:00"


def rows_of(flags: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows that these flags come from; a share's variant that is not there is a deleted one."""
    database = Flagent()
    for flag in flags:
        database.insert(
            "flags",
            id=flag["id"],
            key=flag["key"],
            enabled=flag["enabled"],
            snapshot_id=flag["snapshotID"],
            entity_type=flag["entityType"],
            environment_id=flag["environmentId"],
            depends_on=json.dumps(flag["dependsOn"]) if flag["dependsOn"] else None,
            deleted_at=DELETED if flag["archived"] else None,
        )
        live = {variant["id"] for variant in flag["variants"]}
        for variant in flag["variants"]:
            attachment = None if variant["attachment"] is None else json.dumps(variant["attachment"])
            database.insert("variants", id=variant["id"], flag_id=flag["id"], key=variant["key"], attachment=attachment)
        for tag in flag["tags"]:
            database.insert("tags", id=tag["id"], value=tag["value"])
            database.insert("flags_tags", flag_id=flag["id"], tag_id=tag["id"])
        for segment in flag["segments"]:
            columns = {"rank": segment["rank"], "rollout_percent": segment["rolloutPercent"]}
            database.insert("segments", id=segment["id"], flag_id=flag["id"], **columns)
            for constraint in segment["constraints"]:
                columns = {name: constraint[name] for name in ("property", "operator", "value")}
                database.insert("constraints", id=constraint["id"], segment_id=segment["id"], **columns)
            for share in segment["distributions"]:
                if share["variantID"] not in live:
                    database.insert("variants", id=share["variantID"], flag_id=flag["id"], deleted_at=DELETED)
                columns = {"variant_id": share["variantID"], "percent": share["percent"]}
                database.insert("distributions", id=share["id"], segment_id=segment["id"], **columns)
    return {table: list(rows.values()) for table, rows in database.tables.items()}


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_flags_read_from_rows_answer_as_the_flagent_server_does(vector: dict[str, Any]) -> None:
    catalog = Catalog(LOG)
    catalog.load("public", rows_of([vector["flag"], *vector.get("otherFlags", [])]), Position(1))
    result = Evaluator(lambda: catalog).evaluate(vector["request"])
    for field, expected in vector["expected"].items():
        if field == "evalContext":
            assert {name: result[field][name] for name in expected} == expected
        else:
            assert result[field] == expected


def switch(database: Flagent, key: str, *, attachment: str | None = None, **columns: Any) -> int:
    """A flag that gives everybody its variant `on`."""
    flag_id = database.flag(key, enabled=True, **columns)
    variant_id = database.insert("variants", flag_id=flag_id, attachment=attachment)
    segment_id = database.insert("segments", flag_id=flag_id, rollout_percent=100)
    database.insert("distributions", segment_id=segment_id, variant_id=variant_id)
    return flag_id


@pytest.fixture
def observed() -> Observed:
    return Observed()


@pytest.fixture
def evaluator(observed: Observed) -> Evaluator:
    return Evaluator(
        lambda: observed.catalog,
        now=lambda: datetime(2026, 11, 23, 8, 0, 0, 123456, tzinfo=UTC),
        new_entity_id=lambda: "randomly_generated_-7",
        max_batch_results=6,
    )


def test_the_answer_follows_the_catalog_from_commit_to_commit(observed: Observed, evaluator: Evaluator) -> None:
    flag_id = switch(observed.flagent, "a")
    observed.commit()
    assert evaluator.evaluate({"flagKey": "a", "entityID": "u"})["variantKey"] == "on"
    observed.flagent.update("flags", flag_id, enabled=False)
    observed.commit()
    assert evaluator.evaluate({"flagKey": "a", "entityID": "u"})["variantKey"] is None


def test_a_flag_is_prepared_once_per_version(observed: Observed, evaluator: Evaluator) -> None:
    flag_id = switch(observed.flagent, "a")
    observed.commit()
    source = evaluator._source(None)
    first = source.by_key("a")
    assert source.by_id(flag_id) is first
    observed.flagent.update("flags", flag_id, notes="new")
    observed.commit()
    assert evaluator._source(None).by_key("a") is not first


def test_a_replaced_catalog_is_taken_up(observed: Observed, evaluator: Evaluator) -> None:
    switch(observed.flagent, "a")
    observed.commit()
    evaluator.evaluate({"flagKey": "a"})
    observed.catalog = Catalog(LOG)
    assert evaluator.evaluate({"flagKey": "a"})["flagSnapshotID"] == 0
    assert evaluator.evaluate({"flagKey": "a"})["evalDebugLog"]["msg"] == "flagID 0 not found or deleted"


def test_attachments_keep_the_quotes_that_the_rest_view_strips(observed: Observed, evaluator: Evaluator) -> None:
    switch(observed.flagent, "a", attachment='{"label": "\\"x\\"", "limit": 5}')
    observed.commit()
    assert evaluator.evaluate({"flagKey": "a"})["variantAttachment"] == {"label": '"x"', "limit": "5"}


def test_the_time_and_the_random_id_are_those_given(observed: Observed, evaluator: Evaluator) -> None:
    switch(observed.flagent, "a")
    observed.commit()
    result = evaluator.evaluate({"flagKey": "a", "entityID": " "})
    assert result["timestamp"] == "2026-11-23T08:00:00.123Z"
    assert result["evalContext"]["entityID"] == "randomly_generated_-7"


def test_an_entity_without_id_gets_a_random_one(observed: Observed) -> None:
    switch(observed.flagent, "a")
    observed.commit()
    evaluator = Evaluator(lambda: observed.catalog)
    ids = {evaluator.evaluate({"flagKey": "a"})["evalContext"]["entityID"] for _ in range(20)}
    assert len(ids) > 1
    assert all(re.fullmatch(r"randomly_generated_-?\d{1,10}", entity_id) for entity_id in ids)


def test_a_batch_answers_tags_first_then_ids_then_keys(observed: Observed, evaluator: Evaluator) -> None:
    first, second = switch(observed.flagent, "a"), switch(observed.flagent, "b")
    observed.flagent.tag(first, "web")
    observed.flagent.tag(second, "web")
    observed.commit()
    results = evaluator.evaluate_batch(
        {"entities": [{"entityID": "u"}], "flagTags": ["web"], "flagIDs": [first], "flagKeys": ["b", "nothing"]}
    )
    assert [result["flagKey"] for result in results] == ["b", "a", "a", "b", "nothing"]
    assert len({result["timestamp"] for result in results}) == 1


def test_tags_are_those_of_the_present_position(observed: Observed, evaluator: Evaluator) -> None:
    flag_id = switch(observed.flagent, "a")
    observed.commit()
    asked = {"entities": [{}], "flagTags": ["web"]}
    assert evaluator.evaluate_batch(asked) == []
    observed.flagent.tag(flag_id, "web")
    observed.commit()
    assert len(evaluator.evaluate_batch(asked)) == 1


def test_a_batch_beyond_the_limit_is_refused_by_name(evaluator: Evaluator) -> None:
    with pytest.raises(InvalidInput) as caught:
        evaluator.evaluate_batch({"entities": [{}] * 7, "flagKeys": ["a"]})
    assert (caught.value.name, caught.value.code) == ("entities", "batch_too_large")


def test_each_schema_has_its_own_flags(evaluator: Evaluator, observed: Observed) -> None:
    tenant = Flagent("tenant_1")
    switch(tenant, "a")
    observed.catalog.load("tenant_1", {table: rows.values() for table, rows in tenant.tables.items()}, Position(1))
    assert evaluator.evaluate({"flagKey": "a"}, schema="tenant_1")["variantKey"] == "on"
    assert evaluator.evaluate({"flagKey": "a"})["variantKey"] is None
    assert evaluator.evaluate({"flagKey": "a"}, schema="no_such")["variantKey"] is None


def test_without_a_public_schema_the_first_one_is_used() -> None:
    tenant = Flagent("tenant_1")
    switch(tenant, "a")
    catalog = tenant.catalog()
    assert Evaluator(lambda: catalog).evaluate({"flagKey": "a"})["variantKey"] == "on"


def test_an_expression_in_a_constraint_is_java_s(observed: Observed, evaluator: Evaluator) -> None:
    flag_id = switch(observed.flagent, "a")
    segment_id = next(iter(observed.flagent.tables["segments"]))
    pattern = r"\p{Lower}++@(?!evil).*"
    observed.flagent.insert("constraints", segment_id=segment_id, property="mail", operator="EREG", value=pattern)
    observed.commit()
    answers = [
        evaluator.evaluate({"flagID": flag_id, "entityContext": {"mail": mail}})["variantKey"]
        for mail in ("ann@x.com", "ann@evil.com", "Ann@x.com")
    ]
    assert answers == ["on", None, None]
