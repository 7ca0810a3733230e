import json
from pathlib import Path
from typing import Any

import pytest

from cdc.core.flags.flag import attachment, canonical_text, depends_on, local_time, tag_values, variant_json
from tests.cdc.core.flagent import Flagent


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (None, None),
        ("2026-03-27T08:23:53.887467", "2026-03-27T08:23:53.887467"),
        ("2026-03-27T08:23:53.88", "2026-03-27T08:23:53.880"),
        ("2026-03-27T08:23:53.8874", "2026-03-27T08:23:53.887400"),
        ("2026-03-27T08:23:53", "2026-03-27T08:23:53"),
        ("2026-03-27T08:23:00", "2026-03-27T08:23"),
        ("2026-03-27T08:00:00", "2026-03-27T08:00"),
        ("2026-03-27T08:23:00.5", "2026-03-27T08:23:00.500"),
        ("2026-03-27T08:23:53.000000", "2026-03-27T08:23:53"),
        ("2026-03-27T08:23:53.123456789", "2026-03-27T08:23:53.123456789"),
        ("infinity", "infinity"),
        ("10000-01-01T00:00:00", "10000-01-01T00:00:00"),
    ],
)
def test_a_time_is_printed_as_java_prints_it(stored: str | None, shown: str | None) -> None:
    assert local_time(stored) == shown


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (None, None),
        ("", None),
        ("{}", {}),
        ('{"a": "x"}', {"a": "x"}),
        ('{"a": 1, "b": 1.50, "c": -2e3}', {"a": "1", "b": "1.50", "c": "-2e3"}),
        ('{"d": true, "e": false, "f": null}', {"d": "true", "e": "false", "f": "null"}),
        ('{"a": "x", "b": {}}', None),
        ('{"a": []}', None),
        ('["a"]', None),
        ("not json", None),
        ('{"neg":-0.0,"i":01}', {"neg": "-0.0", "i": "01"}),
        ("""{"x":'y'}""", {"x": "'y'"}),
        ('{"a": NaN, "b": TRUE, "c": "two\nlines"}', {"a": "NaN", "b": "TRUE", "c": "two\nlines"}),
        ('{"a": {}, "a": x}', {"a": "x"}),
        ("{'a': 1}", None),
        ('{"a": x, "b": []}', None),
        ("[" * 100_000, None),
        ('{"a": x, "b": ' + "[" * 100_000, None),
    ],
)
def test_an_attachment_is_text_to_text_or_nothing(stored: str | None, shown: object) -> None:
    assert attachment(stored) == shown


@pytest.mark.parametrize(
    ("stored", "keys"),
    [
        (None, []),
        ("", []),
        ("[]", []),
        ('["a","b"]', ["a", "b"]),
        ('[1,"base",null]', ["1", "base", "null"]),
        ('["a",true,-1.50,01]', ["a", "true", "-1.50", "01"]),
        ("[a, 'b']", ["a", "'b'"]),
        ("  ", []),
        ('{"a":1}', []),
        ('"a"', []),
        ("a,b", []),
        ('["a",["b"]]', []),
        ('["a",{}]', []),
        ("[a b]", []),
        ("[NaN]", ["NaN"]),
        ("[" * 100_000, []),
    ],
)
def test_dependencies_are_keys_or_nothing(stored: str | None, keys: list[str]) -> None:
    assert depends_on(stored) == keys


def test_quotes_around_attachment_values_are_stripped_in_the_rest_view_only() -> None:
    text = json.dumps({"a": '"quoted"', "b": 'in"side'})
    row = {"id": 1, "flag_id": 2, "key": None, "attachment": text}
    assert variant_json(row) == {"id": 1, "flagID": 2, "key": "", "attachment": {"a": "quoted", "b": 'in"side'}}
    assert attachment(text) == {"a": '"quoted"', "b": 'in"side'}


def full_flag() -> tuple[Flagent, int]:
    flagent = Flagent()
    flag_id = flagent.flag(
        "checkout",
        description="New checkout",
        created_by="bob",
        updated_by="",
        enabled=True,
        snapshot_id=9,
        notes="n",
        data_records_enabled=True,
        entity_type="user",
        environment_id=3,
        depends_on='["base"]',
        project_id=4,
        updated_at="2026-03-27T08:23:00",
    )
    on = flagent.insert("variants", flag_id=flag_id, attachment='{"color": "\\"blue\\"", "n": 1}')
    off = flagent.insert("variants", flag_id=flag_id, key=None)
    second = flagent.insert("segments", flag_id=flag_id, rank=2, rollout_percent=50, description="late")
    first = flagent.insert("segments", flag_id=flag_id, rank=1, rollout_percent=100)
    flagent.insert("constraints", segment_id=first, property="b", created_at="2026-01-01T00:00:00.5")
    flagent.insert("constraints", segment_id=first, property="a", created_at="2026-01-01T00:00:00")
    flagent.insert("distributions", segment_id=first, variant_id=off, variant_key=None, percent=10)
    flagent.insert("distributions", segment_id=first, variant_id=on, percent=90)
    flagent.tag(flag_id, "web")
    for table, parent in (("variants", "flag_id"), ("segments", "flag_id")):
        flagent.insert(table, **{parent: flag_id}, deleted_at="2026-01-01T00:00:00")
    for table in ("constraints", "distributions"):
        flagent.insert(table, segment_id=second, variant_id=on, deleted_at="2026-01-01T00:00:00")
    dead = flagent.tag(flag_id, "dead")
    flagent.update("tags", dead, deleted_at="2026-01-01T00:00:00")
    return flagent, flag_id


def test_a_flag_is_shown_in_the_rest_shape_without_deleted_rows() -> None:
    flagent, flag_id = full_flag()
    assert json.loads(json.dumps(flagent.catalog().flag_json("public", flag_id))) == {
        "id": 1,
        "key": "checkout",
        "description": "New checkout",
        "createdBy": "bob",
        "updatedBy": "",
        "enabled": True,
        "snapshotID": 9,
        "notes": "n",
        "dataRecordsEnabled": True,
        "entityType": "user",
        "environmentId": 3,
        "projectId": 4,
        "dependsOn": ["base"],
        "segments": [
            {
                "id": 5,
                "flagID": 1,
                "description": None,
                "rank": 1,
                "rolloutPercent": 100,
                "constraints": [
                    {"id": 7, "segmentID": 5, "property": "a", "operator": "EQ", "value": "US"},
                    {"id": 6, "segmentID": 5, "property": "b", "operator": "EQ", "value": "US"},
                ],
                "distributions": [
                    {"id": 9, "segmentID": 5, "variantID": 2, "variantKey": "on", "percent": 90},
                    {"id": 8, "segmentID": 5, "variantID": 3, "variantKey": None, "percent": 10},
                ],
            },
            {
                "id": 4,
                "flagID": 1,
                "description": "late",
                "rank": 2,
                "rolloutPercent": 50,
                "constraints": [],
                "distributions": [],
            },
        ],
        "variants": [
            {"id": 2, "flagID": 1, "key": "on", "attachment": {"color": "blue", "n": "1"}},
            {"id": 3, "flagID": 1, "key": "", "attachment": None},
        ],
        "tags": [{"id": 10, "value": "web"}],
        "updatedAt": "2026-03-27T08:23",
        "archived": False,
    }


def test_the_keys_of_a_flag_are_in_the_order_of_the_specification() -> None:
    flagent, flag_id = full_flag()
    flag = flagent.catalog().flag_json("public", flag_id)
    assert flag is not None
    assert " ".join(flag) == (
        "id key description createdBy updatedBy enabled snapshotID notes dataRecordsEnabled entityType environmentId "
        "projectId dependsOn segments variants tags updatedAt archived"
    )


def test_a_database_before_its_later_migrations_shows_defaults() -> None:
    flagent = Flagent()
    flag_id = flagent.flag("old")
    for column in ("depends_on", "project_id"):
        del flagent.tables["flags"][flag_id][column]
    flag = flagent.catalog().flag_json("public", flag_id)
    assert flag is not None
    assert (flag["dependsOn"], flag["projectId"]) == ([], None)


def test_canonical_text_leaves_out_bookkeeping_and_sorts_keys() -> None:
    flag = {"key": "ü\u2028\x7f", "id": 1, "snapshotID": 2, "updatedAt": "x", "updatedBy": "y", "schema": "s"}
    assert canonical_text(flag) == '{"id":1,"key":"ü\u2028\x7f"}'


def test_half_a_surrogate_pair_in_an_attachment_can_still_be_sent() -> None:
    flagent = Flagent()
    flag_id = flagent.flag("a")
    flagent.insert("variants", flag_id=flag_id, attachment='{"x": "\\ud83d", "y": "\\ud83d\\ude00"}')
    flag = flagent.catalog().flag_json("public", flag_id)
    assert flag is not None
    assert '"attachment":{"x":"\\ud83d","y":"😀"}' in canonical_text(flag).encode().decode()


def test_no_flag_has_no_tags() -> None:
    assert tag_values(None) == frozenset()


def test_rows_of_every_evaluation_vector_render_back_to_it() -> None:
    path = Path(__file__).parents[3] / "vectors" / "evaluation_vectors.json"
    if not path.exists():
        pytest.skip("the evaluation vectors are not here")
    for vector in json.loads(path.read_text()):
        flag: dict[str, Any] = vector["flag"]
        if not flag["archived"]:
            # Some vectors list their segments out of order on purpose; what is shown is always in order.
            flag["segments"].sort(key=lambda segment: (segment["rank"], segment["id"]))
            for segment in flag["segments"]:
                segment["distributions"].sort(key=lambda share: (share["variantID"], share["id"]))
            assert rows_of(flag).catalog().flag_json("public", flag["id"]) == flag


def rows_of(flag: dict[str, Any]) -> Flagent:
    flagent = Flagent()
    flagent.flag(
        flag["key"],
        id=flag["id"],
        description=flag["description"],
        created_by=flag["createdBy"],
        updated_by=flag["updatedBy"],
        enabled=flag["enabled"],
        snapshot_id=flag["snapshotID"],
        notes=flag["notes"],
        data_records_enabled=flag["dataRecordsEnabled"],
        entity_type=flag["entityType"],
        environment_id=flag["environmentId"],
        project_id=flag["projectId"],
        depends_on=json.dumps(flag["dependsOn"]),
        updated_at=flag["updatedAt"],
    )
    for variant in flag["variants"]:
        values = variant["attachment"]
        text = None if values is None else json.dumps(values)
        flagent.insert("variants", id=variant["id"], flag_id=flag["id"], key=variant["key"], attachment=text)
    for segment in flag["segments"]:
        flagent.insert(
            "segments",
            id=segment["id"],
            flag_id=flag["id"],
            description=segment["description"],
            rank=segment["rank"],
            rollout_percent=segment["rolloutPercent"],
        )
        for constraint in segment["constraints"]:
            columns = {name: constraint[name] for name in ("id", "property", "operator", "value")}
            flagent.insert("constraints", segment_id=segment["id"], **columns)
        for share in segment["distributions"]:
            flagent.insert(
                "distributions",
                id=share["id"],
                segment_id=segment["id"],
                variant_id=share["variantID"],
                variant_key=share["variantKey"],
                percent=share["percent"],
            )
    for tag in flag["tags"]:
        flagent.insert("tags", **tag)
        flagent.insert("flags_tags", flag_id=flag["id"], tag_id=tag["id"])
    return flagent
