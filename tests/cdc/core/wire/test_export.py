"""The export against stand-ins of its readers, which disagree with each other about nearly every name."""

import gzip
import json
from typing import Any

import pytest

from cdc.core.flags.flag import FlagJson
from cdc.core.wire.deflate import gzip_member
from cdc.core.wire.export import export_part, export_part_in_turns, export_parts, export_text, exported_flag
from tests.cdc.core.evaluation.flags import constraint, flag, segment, share, variant
from tests.cdc.core.flagent import Flagent
from tests.fixtures.clients import go_model, json_http_fetcher, kotlin_flags


def export_of(*flags: FlagJson) -> dict[str, Any]:
    export: dict[str, Any] = json.loads(export_text(flags, "7@k7q2mx"))
    return export


FULL = flag(
    5,
    "a",
    segments=[
        segment(10, constraints=[constraint("country", "EQ", "US")], distributions=[share(30), share(70, 101)]),
        segment(11, description="all", distributions=[]),
    ],
    variants=[variant(100, attachment={"color": '"blue"'}), variant(101, "off")],
    tags=[{"id": 3, "value": "web"}],
    dependsOn=["b"],
    environmentId=1,
    projectId=2,
)


@pytest.mark.parametrize("one", [FULL, flag(segments=[], variants=[])], ids=["full", "bare"])
def test_every_reader_reads_every_flag(one: dict[str, Any]) -> None:
    export = export_of(one)
    for exported in export["flags"]:
        go_model("flag", exported)
    assert list(kotlin_flags(export)) == [one["key"]]
    json_http_fetcher(export)


def test_the_go_models_read_the_export_but_not_the_rest_shape() -> None:
    go_model("flag", exported_flag(FULL))
    with pytest.raises(AssertionError, match=r"unknown field .*environmentId"):
        go_model("flag", FULL)


def test_only_enabled_flags_are_exported_with_the_revision() -> None:
    export = export_of(flag(1, "a"), flag(2, "b", enabled=False))
    assert [one["key"] for one in export["flags"]] == ["a"]
    assert export["revision"] == "7@k7q2mx"


def test_a_flag_has_exactly_the_names_that_no_reader_refuses() -> None:
    exported = exported_flag(FULL)
    assert set(exported) == {
        *("id", "key", "description", "createdBy", "updatedBy", "enabled", "snapshotID", "snapshotId", "notes"),
        *("dataRecordsEnabled", "entityType", "segments", "variants", "tags"),
    }
    first = exported["segments"][0]
    assert set(first) == {
        *("id", "flagID", "flagId", "description", "rank", "rolloutPercent", "constraints", "distributions")
    }
    assert set(first["constraints"][0]) == {"id", "segmentID", "segmentId", "property", "operator", "value"}
    assert set(first["distributions"][0]) == {
        *("id", "segmentID", "segmentId", "variantID", "variantId", "variantKey", "percent")
    }
    assert set(exported["variants"][0]) == {"id", "flagID", "flagId", "key", "attachment"}
    assert exported["tags"] == [{"id": 3, "value": "web"}]


def test_both_spellings_of_an_id_agree() -> None:
    def check(value: object) -> None:
        if isinstance(value, dict):
            for name, one in value.items():
                if name.endswith("ID"):
                    assert value[name[:-1] + "d"] == one
                check(one)
        elif isinstance(value, list):
            for one in value:
                check(one)

    check(exported_flag(FULL))


def test_attachments_are_exported_as_they_are_given() -> None:
    assert exported_flag(FULL)["variants"][0]["attachment"] == {"color": '"blue"'}


def test_the_parts_are_the_export_whichever_flags_are_enabled() -> None:
    flagent = Flagent()
    for number in range(7):
        flag_id = flagent.flag(f"k{number}", enabled=number % 3 == 0)
        flagent.insert("variants", flag_id=flag_id, attachment='{"a": "\\"b\\""}')
    catalog = flagent.catalog()
    flags = [flag for _, chunk in catalog.chunks() for flag in chunk.flags]
    for size in (1, 2, 7):
        parts = [export_part(flags[start : start + size]) for start in range(0, len(flags), size)]
        whole = b"".join([part.data for part in export_parts(reversed(parts), "r")])
        assert whole.decode() == export_text([flag.render_for_evaluation() for flag in reversed(flags)], "r")
        assert gzip.decompress(gzip_member(export_parts(reversed(parts), "r"))) == whole
    assert len(list(export_part_in_turns(flags))) == len(flags)
