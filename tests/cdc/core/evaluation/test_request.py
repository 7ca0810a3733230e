"""Requests as JSON: what is read, and how errors name the field."""

import json
from pathlib import Path
from typing import Any

import pytest

from cdc.core.errors import InvalidInput
from cdc.core.evaluation import BatchRequest, Entity, EvaluationRequest, decode_json

ONE: dict[str, Any] = {"entities": [{}], "flagIDs": [1]}


def context(text: str) -> dict[str, str]:
    """The entity context of a request given as JSON text."""
    entity = Entity.parse(decode_json(f'{{"entityContext": {text}}}'))
    return dict(entity.context or {})


def test_every_field_is_read() -> None:
    assert EvaluationRequest.parse(
        {
            "flagID": 7,
            "flagKey": "a",
            "entityID": "u",
            "entityType": "user",
            "entityContext": {"country": "US"},
            "enableDebug": True,
            "unknown": [],
        }
    ) == EvaluationRequest(Entity("u", "user", {"country": "US"}), 7, "a", True)


def test_a_null_is_an_absent_field() -> None:
    names = ("flagID", "flagKey", "entityID", "entityType", "entityContext", "enableDebug")
    assert EvaluationRequest.parse(dict.fromkeys(names)) == EvaluationRequest.parse({})


def answers(name: str) -> list[tuple[str, str | None]]:
    """What Kotlin makes of a field with this JSON, see `tests/vectors/kotlin_answers.py`."""
    path = Path(__file__).parents[3] / "vectors" / f"kotlin_{name}_field.json"
    return [(text, answer) for text, answer in json.loads(path.read_text("utf-8"))]


def test_a_number_may_be_in_quotes_and_is_read_or_refused_as_kotlin_does() -> None:
    def flag_id(text: str) -> str | None:
        try:
            return str(EvaluationRequest.parse(decode_json(f'{{"flagID": {text}}}')).flag_id)
        except InvalidInput:
            return None

    # A null is an absent field to both, but not an element of a list.
    fields = [(text, answer) for text, answer in answers("int") if text != "null"]
    assert [(text, flag_id(text)) for text, _ in fields] == fields


def test_a_boolean_may_be_in_quotes_and_is_read_or_refused_as_kotlin_does() -> None:
    def debug(text: str) -> str | None:
        try:
            return str(EvaluationRequest.parse(decode_json(f'{{"enableDebug": {text}}}')).debug).lower()
        except InvalidInput:
            return None

    assert [(text, debug(text)) for text, _ in answers("boolean")] == answers("boolean")


def test_the_ids_of_a_batch_may_be_in_quotes() -> None:
    request = BatchRequest.parse({"entities": [{}], "flagIDs": ["7", 8, "1e2"], "enableDebug": "True"})
    assert (request.flag_ids, request.debug) == ((7, 8, 100), True)


def test_numbers_and_booleans_count_as_they_were_written() -> None:
    assert context('{"a": 25, "b": 1.50, "c": 1e3, "d": true, "e": false, "f": -0.0, "g": 12345678901234567890}') == {
        "a": "25",
        "b": "1.50",
        "c": "1e3",
        "d": "true",
        "e": "false",
        "f": "-0.0",
        "g": "12345678901234567890",
    }


def test_numbers_read_elsewhere_count_as_json_writes_them() -> None:
    assert Entity.parse({"entityContext": {"a": 1.5, "b": 1000.0}}).context == {"a": "1.5", "b": "1000.0"}


def test_a_null_property_is_absent() -> None:
    assert context('{"a": null, "b": ""}') == {"b": ""}


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ([], "body"),
        ("text", "body"),
        ({"flagID": "seven"}, "flagID"),
        ({"flagID": ""}, "flagID"),
        ({"flagID": " 7"}, "flagID"),
        ({"flagID": "7.0"}, "flagID"),
        ({"flagID": "2147483648"}, "flagID"),
        ({"flagID": []}, "flagID"),
        ({"flagID": 7.0}, "flagID"),
        ({"flagID": True}, "flagID"),
        ({"flagID": 2**31}, "flagID"),
        ({"flagKey": 7}, "flagKey"),
        ({"flagKey": "\ud800"}, "flagKey"),
        ({"entityID": 7}, "entityID"),
        ({"entityID": "\udfff"}, "entityID"),
        ({"entityType": []}, "entityType"),
        ({"enableDebug": "yes"}, "enableDebug"),
        ({"enableDebug": "1"}, "enableDebug"),
        ({"enableDebug": ""}, "enableDebug"),
        ({"enableDebug": " true"}, "enableDebug"),
        ({"enableDebug": 1}, "enableDebug"),
        ({"entityContext": []}, "entityContext"),
        ({"entityContext": "a"}, "entityContext"),
        ({"entityContext": {"a": {}}}, "entityContext.a"),
        ({"entityContext": {"a": ["b"]}}, "entityContext.a"),
        ({"entityContext": {"a": float("nan")}}, "entityContext.a"),
        ({"entityContext": {"a": float("inf")}}, "entityContext.a"),
        ({"entityContext": {"a": 10**5000}}, "entityContext.a"),
        ({"entityContext": {"a": "\ud800"}}, "entityContext.a"),
        ({"entityContext": {"\ud800": "a"}}, "entityContext"),
        ({"entityContext": {"\ud800": []}}, "entityContext"),
    ],
)
def test_an_invalid_field_is_named(raw: object, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        EvaluationRequest.parse(raw)
    assert caught.value.name == name
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ({}, "flagIDs"),
        ({"flagIDs": [1]}, "entities"),
        ({"flagIDs": [1], "entities": []}, "entities"),
        ({**ONE, "entities": {}}, "entities"),
        ({**ONE, "entities": ["u"]}, "entities[0]"),
        ({**ONE, "entities": [{}, {"entityID": 1}]}, "entities[1].entityID"),
        ({**ONE, "entities": [{"entityContext": {"a": []}}]}, "entities[0].entityContext.a"),
        ({**ONE, "flagIDs": ["one"]}, "flagIDs[0]"),
        ({**ONE, "flagIDs": ["1", None]}, "flagIDs[1]"),
        ({**ONE, "flagIDs": 1}, "flagIDs"),
        ({**ONE, "flagKeys": "a"}, "flagKeys"),
        ({**ONE, "flagKeys": [None]}, "flagKeys[0]"),
        ({**ONE, "flagTags": [1]}, "flagTags[0]"),
        ({**ONE, "flagTagsOperator": 1}, "flagTagsOperator"),
        ({**ONE, "enableDebug": 0}, "enableDebug"),
    ],
)
def test_an_invalid_field_of_a_batch_is_named(raw: object, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        BatchRequest.parse(raw)
    assert caught.value.name == name


def test_a_long_property_name_is_shown_shortened() -> None:
    with pytest.raises(InvalidInput) as caught:
        EvaluationRequest.parse({"entityContext": {"a" * 10_000: []}})
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("text", ["", "{", b"\xff", '{"a": NaN}', "[" * 100_000, '{"a": ' + "1" * 5000 + "}"])
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode_json(text)
    assert (caught.value.name, caught.value.code) == ("body", "invalid_json")
