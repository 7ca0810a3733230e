"""OpenFeature: values, reasons and metadata of flags, errors, and one notice per commit."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from cdc.core.errors import InvalidInput
from cdc.core.evaluation import Entity
from cdc.core.flags.events import Event
from cdc.core.flags.flag_bound import FlagBound
from cdc.core.log.change import Op
from cdc.core.log.position import EventId
from cdc.core.subscription.resume import ResyncReason
from cdc.core.wire.encoded import encode_commit
from cdc.core.wire.ofrep import REFETCH, answer, read_context, request_for
from tests.cdc.core.evaluation.flags import ask, constraint, flag, segment, share, variant
from tests.cdc.core.flagent import Observed, change_of

HERE = EventId.parse("7@k7q2mx")


def evaluated(one: Mapping[str, Any], **context: str) -> dict[str, Any]:
    result = ask([one], {"flagID": one["id"], "entityID": "u1", "entityContext": context}) if one["enabled"] else {}
    return answer(one, result)


# -- the context ----------------------------------------------------------------------------------------------------


def test_the_targeting_key_is_the_entity_and_scalars_are_its_context() -> None:
    context = {
        "targetingKey": "u1",
        "country": "US",
        "age": 25,
        "vip": True,
        "none": None,
        "list": [1],
        "object": {"a": 1},
    }
    entity = read_context({"context": context})
    assert entity == Entity("u1", None, {"targetingKey": "u1", "country": "US", "age": "25", "vip": "true"})


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"context": {}}, "TARGETING_KEY_MISSING"),
        ({"context": {"targetingKey": None}}, "TARGETING_KEY_MISSING"),
        ({"context": {"targetingKey": ""}}, "TARGETING_KEY_MISSING"),
        ({"context": {"targetingKey": " \t\u00a0"}}, "TARGETING_KEY_MISSING"),
        ({"context": {"targetingKey": 5}}, "INVALID_CONTEXT"),
        ({"context": []}, "INVALID_CONTEXT"),
        ({}, "INVALID_CONTEXT"),
        ([], "INVALID_CONTEXT"),
        (None, "INVALID_CONTEXT"),
    ],
)
def test_a_bad_context_has_openfeatures_error_code(body: object, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_context(body)
    assert caught.value.code == code


def test_a_context_that_evaluation_refuses_is_invalid() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_context({"context": {"targetingKey": "u1", "n": 10**5000}})
    assert caught.value.code == "INVALID_CONTEXT"


def test_the_flag_is_requested_by_its_id() -> None:
    entity = Entity("u1", None, {})
    request = request_for(flag(5, "a"), entity)
    assert (request.flag_id, request.flag_key, request.entity) == (5, None, entity)


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "given", "value"),
    [
        (("on", "off"), 0, True),
        (("on", "off"), 1, False),
        (("True", "FALSE"), 0, True),
        (("True", "FALSE"), 1, False),
        (("yes", "no"), 0, True),
        (("enabled", "disabled"), 1, False),
        (("on",), 0, True),
        (("on", "blue"), 0, "on"),
        (("red", "blue"), 1, "blue"),
        (("1", "0"), 0, "1"),
        (("", "on"), 0, ""),
    ],
)
def test_a_flag_of_boolean_words_is_a_boolean_and_any_other_is_its_variants_key(
    keys: tuple[str, ...], given: int, value: object
) -> None:
    variants = [variant(100 + number, key) for number, key in enumerate(keys)]
    one = flag(variants=variants, segments=[segment(distributions=[share(100, 100 + given)])])
    result = evaluated(one)
    assert result["value"] == value
    assert type(result["value"]) is type(value)
    assert result["variant"] == keys[given]


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (flag(enabled=False), "DISABLED"),
        (flag(segments=[]), "UNKNOWN"),
        (flag(segments=[segment(constraints=[constraint("country", "EQ", "US")])]), "UNKNOWN"),
    ],
    ids=["disabled", "no segment", "no match"],
)
def test_without_a_variant_there_is_no_value(one: dict[str, Any], reason: str) -> None:
    assert evaluated(one) == {
        "key": "a",
        "reason": reason,
        "variant": "",
        "metadata": {"flagID": 1, "snapshotID": 7},
    }


TWO = [variant(100, "on"), variant(101, "off")]


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (flag(), "STATIC"),
        (flag(segments=[segment(distributions=[share(0, 101), share(100)])], variants=TWO), "STATIC"),
        (flag(segments=[segment(constraints=[constraint("country", "EQ", "US")])]), "TARGETING_MATCH"),
        (flag(segments=[segment(9, constraints=[constraint("country", "EQ", "CA")]), segment()]), "TARGETING_MATCH"),
        (flag(segments=[segment(distributions=[share(50), share(50, 101)])], variants=TWO), "SPLIT"),
        (flag(segments=[segment(rolloutPercent=99)]), "SPLIT"),
    ],
)
def test_the_reason_says_what_decided(one: dict[str, Any], reason: str) -> None:
    assert evaluated(one, country="US")["reason"] == reason


def test_a_segment_that_the_flag_does_not_have_is_no_reason() -> None:
    result = ask([flag()], {"flagID": 1, "entityID": "u1"})
    assert answer(flag(), {**result, "segmentID": 999})["reason"] == "UNKNOWN"


def test_a_variant_without_a_key_and_a_word_from_elsewhere_stay_texts() -> None:
    result = ask([flag()], {"flagID": 1, "entityID": "u1"})
    assert answer(flag(), {**result, "variantKey": None})["value"] == ""
    assert answer(flag(), {**result, "variantKey": "elsewhere"})["value"] == "elsewhere"


def test_the_attachment_is_metadata_and_the_flags_own_names_win() -> None:
    one = flag(variants=[variant(attachment={"color": "blue", "flagID": "mine"})])
    assert evaluated(one)["metadata"] == {"color": "blue", "flagID": 1, "snapshotID": 7}


# -- notices ----------------------------------------------------------------------------------------------------------


def notices_of(events: list[Event]) -> list[dict[str, Any]]:
    encoded = encode_commit(events, FlagBound())
    stream = b"".join(REFETCH.event(event) for event in encoded)
    assert REFETCH.batch(encoded, None) == stream
    assert b"".join(REFETCH.event_at(event, "2026-11-23T08:00:00Z") for event in encoded) == stream
    return read(stream)


def read(stream: bytes) -> list[dict[str, Any]]:
    notices = []
    for block in stream.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        assert fields["event"] == "message"
        notices.append({"id": fields["id"], **json.loads(fields["data"])})
    return notices


def test_a_commit_is_one_notice_whatever_it_changed() -> None:
    observed = Observed()
    one, other = observed.flagent.flag("a"), observed.flagent.flag("b", enabled=True)
    observed.flagent.insert("segments", flag_id=one)
    observed.flagent.insert("variants", flag_id=other)
    notices = notices_of(observed.commit())
    id = str(observed.catalog.here)
    assert notices == [{"id": id, "type": "refetchEvaluation", "etag": id, "lastModified": 1795420800}]


def test_a_watched_table_alone_is_no_notice_and_does_not_hide_a_flag() -> None:
    observed = Observed()
    orders = change_of("shop", "orders", Op.INSERT, None, {"id": 1}, {"id": 1})
    assert notices_of(observed.commit(orders)) == []
    observed.flagent.flag("a")
    assert len(notices_of(observed.commit(orders))) == 1


def test_a_new_stream_and_a_resync_are_one_notice_at_the_present_position() -> None:
    expected = [{"id": "7@k7q2mx", "type": "refetchEvaluation", "etag": "7@k7q2mx"}]
    assert read(REFETCH.snapshot(HERE, lambda: "{}")) == expected
    assert read(REFETCH.resync(HERE, ResyncReason.PRUNED, lambda: "{}")) == expected


def test_the_rest_dispatches_nothing_and_a_keep_alive_moves_the_id() -> None:
    assert REFETCH.transport == "sse"
    assert REFETCH.connected(HERE, is_fresh=True, age_ms=1) == b": connected\n\n"
    assert (
        REFETCH.keep_alive(HERE, is_fresh=True, age_ms=1, digest=None) == b": keep-alive fresh=true\nid: 7@k7q2mx\n\n"
    )
    assert REFETCH.keep_alive(HERE, is_fresh=False, age_ms=1, digest=None).startswith(b": keep-alive fresh=false\n")
    assert REFETCH.closing(2000) == b"retry: 2000\n: closing\n\n"
