"""Validation of single fields."""

from collections.abc import Callable

import pytest

from cdc.core.errors import InvalidEventId, InvalidInput
from cdc.core.flags.events import EventType
from cdc.core.log.position import EventId
from cdc.core.wire import fields
from cdc.core.wire.fields import Overflow


@pytest.mark.parametrize(
    ("check", "values"),
    [
        (fields.text, ["a", "x" * 256]),
        (fields.boolean, [True, False]),
        (fields.flag_id, [1, 2**31 - 1]),
        (fields.batch_ms, [0, 10_000]),
        (fields.overflow, ["resync", "disconnect"]),
    ],
)
def test_valid_values_are_returned(check: Callable[[str, object], object], values: list[object]) -> None:
    assert [check("field", value) for value in values] == values


@pytest.mark.parametrize(
    ("check", "values", "allowed"),
    [
        (fields.text, ["", "x" * 257, 7, None], "a string of 1 to 256 characters"),
        (fields.boolean, [1, 0, "true", None], "true or false"),
        (fields.flag_id, [0, 2**31, True, "1", 1.0], "an integer from 1 to 2147483647"),
        (fields.batch_ms, [-1, 10_001, False], "an integer from 0 to 10000"),
        (fields.overflow, ["drop", "RESYNC", None], "one of resync, disconnect"),
        (fields.min_position, ["", "x", "-1", "1" * 20, "１", -1, 2**63, True], "a position that the server sent"),
    ],
)
def test_invalid_values_are_refused_with_what_is_allowed(
    check: Callable[[str, object], object], values: list[object], allowed: str
) -> None:
    for value in values:
        with pytest.raises(InvalidInput, match=f"^field is .*, but must be {allowed}") as refused:
            check("field", value)
        assert (refused.value.name, refused.value.code) == ("field", "invalid_parameter")


def test_a_refused_value_is_shown_as_json_and_shortened() -> None:
    assert str(fields.refuse("a", {"b": [None, "ü"]}, "c")) == 'a is {"b": [null, "\\u00fc"]}, but must be c'
    assert str(fields.refuse("a", "x" * 100, "c", code="z")) == f'a is "{"x" * 63}…, but must be c'
    assert fields.refuse("a", object, "c", code="z").code == "z"


def test_a_name_from_a_client_can_always_be_sent_back() -> None:
    assert fields.shown_name("plain") == "plain"
    assert fields.shown_name("a\ud83d") == "a\\ud83d"
    assert fields.shown_name("x" * 65) == "x" * 64 + "…"


def test_event_types_are_enumerated() -> None:
    assert fields.event_types("types", ["flag_created", "row_deleted"]) == [
        EventType.FLAG_CREATED,
        EventType.ROW_DELETED,
    ]
    for value in ("FLAG_CREATED", "x", 1, None):
        with pytest.raises(InvalidInput, match="one of flag_created, flag_updated"):
            fields.event_types("types", ["flag_created", value])


def test_an_overflow_is_enumerated() -> None:
    assert fields.overflow("overflow", "disconnect") is Overflow.DISCONNECT


def test_an_event_id_may_be_empty() -> None:
    assert fields.last_event_id("") is None
    assert fields.last_event_id("1042-3@k7q2mx") == EventId.parse("1042-3@k7q2mx")
    for value in ("x", 7, None, ["1042-3@k7q2mx"]):
        with pytest.raises(InvalidEventId):
            fields.last_event_id(value)


@pytest.mark.parametrize(("value", "position"), [("0", 0), ("0042", 42), (42, 42), (str(2**63 - 1), 2**63 - 1)])
def test_a_position_is_a_number_or_its_digits(value: object, position: int) -> None:
    assert fields.min_position("minPosition", value) == position


def test_selectors_are_limited() -> None:
    fields.check_selectors(fields.MAX_SELECTORS)
    with pytest.raises(InvalidInput, match="1001 flags, ids, tags and tables are selected") as refused:
        fields.check_selectors(fields.MAX_SELECTORS + 1)
    assert refused.value.code == "too_many_selectors"
