"""Conditions that are bound to a table."""

import pytest

from cdc.core.errors import InvalidInput
from cdc.core.log.row_text import RowText
from cdc.core.row_filter.binding import Bound, ClaimMissing, bind
from cdc.core.row_filter.expression import Constant
from cdc.filters.parser import parse_filter
from tests.cdc.filters.tables import COLUMNS

BY_NAME = {column.name: column for column in COLUMNS}

ROW = RowText(
    '{"id":1,"tenant_id":7,"total":1.10,"paid":true,"name":"bob","code":"b","state":"held","day":"2026-11-30",'
    '"at":"2026-11-30T10:00:00+00:00","local":"2026-11-30T10:00:00","data":{"city":"Köln"},'
    '"ref":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11","weight":1.5}'
)


def bound(text: str, *parameters: str, claims: dict[str, object] | None = None) -> Bound:
    given = tuple(Constant("parameter", parameter) for parameter in parameters)
    return bind(parse_filter(text, with_claims=claims is not None), BY_NAME, given, claims)


@pytest.mark.parametrize(
    "text",
    [
        "id = 1.0",
        "1 < tenant_id",
        "total = 1.1",
        "total <> 1.11",
        "paid",
        "paid = 'yes'",
        "paid is true",
        "name = 'bob'",
        "name like 'b%'",
        "code < 'c'",
        "name collate \"C\" > 'a'",
        "state > 'open'",
        "state in ('held')",
        "id <= tenant_id",
        "day between '2026-11-01' and date '2026-12-01'",
        "at = '2026-11-30 12:00+02'",
        "local = '2026-11-30 10:00'",
        "data ->> 'city' = 'Köln'",
        "ref = 'A0EEBC999C0B4EF8BB6D6BB9BD380A11'",
        "odd is null",
        "weight is not null",
        "not (name = 'x')",
        "id = 99999999999999999999 or id = 1",
        "at > '-infinity'",
        "name = code or code = 'b'",
    ],
)
def test_a_row_is_compared_as_in_postgresql(text: str) -> None:
    assert bound(text).test(ROW) is True


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nope = 1", "unknown_column"),
        ("secret = 'x'", "unknown_column"),
        ("weight = 1.5", "uncomparable_type"),
        ("data = '{}'", "uncomparable_type"),
        ("data is null", "invalid_filter"),
        ("name < 'a'", "collation"),
        ("data ->> 'a' < 'b'", "collation"),
        ("odd = 'a'", "invalid_filter"),
        ("name = 1", "invalid_filter"),
        ("id = 'x'", "invalid_filter"),
        ("id = true", "invalid_filter"),
        ("id", "invalid_filter"),
        ("1 = 1", "invalid_filter"),
        ("true", "invalid_filter"),
        ("day = at", "invalid_filter"),
        ("at = '2026-11-30'::date", "invalid_filter"),
        ("local = '2026-11-30 10:00+02'", "invalid_filter"),
        ("state = 'lost'", "invalid_filter"),
        ("id like '1'", "invalid_filter"),
        ("name like 'a\\'", "invalid_filter"),
        ("name ->> 'a' = 'b'", "invalid_filter"),
        ("id = $1", "missing_parameter"),
        ("id = $0", "missing_parameter"),
        ("id in (tenant_id)", "invalid_filter"),
        ("name like code", "invalid_filter"),
        ('id collate "C" = 1', "invalid_filter"),
        ("id = '99999999999'::int", "invalid_filter"),
        ("id = 1.5::int", "invalid_filter"),
    ],
)
def test_what_cannot_be_compared_is_refused(text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        bound(text)
    assert (caught.value.code, caught.value.name) == (code, "where")


@pytest.mark.parametrize(
    ("text", "parameter"),
    [
        ("tenant_id = $1", "7"),
        ("tenant_id = $1", "7.0"),
        ("name = $1", "bob"),
        ("paid = $1", "true"),
        ("total = $1", "1.100"),
        ("state = $1", "held"),
        ("id = $1::text::int", "1"),
        ("name like $1", "b__"),
    ],
)
def test_a_parameter_has_the_type_of_what_it_is_compared_with(text: str, parameter: str) -> None:
    if "::text::" in text:
        with pytest.raises(InvalidInput):
            bound(text, parameter)
        return
    assert bound(text, parameter).test(ROW) is True


@pytest.mark.parametrize(
    ("text", "parameters", "message"),
    [
        ("name like $1", ["a" * 8_193], "8192 characters"),
        ("name like $1 or name like $2", ["a" * 5_000, "_" * 5_000], "8192 characters"),
        ("name like $1", ["%" + "a_" * 16 + "b%"], "32 characters"),
        ("not (name like $1 and name like $2)", ["%" + "a_" * 9 + "%", "%" + "_" * 15 + "%"], "32 characters"),
    ],
)
def test_patterns_that_would_take_long_for_each_row_are_refused(text: str, parameters: list[str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        bound(text, *parameters)
    assert (caught.value.code, caught.value.name) == ("invalid_filter", "where")


def test_long_patterns_that_take_no_time_are_taken() -> None:
    assert bound("name like $1 or name like $2", "%" + "b" * 4_000, "b%" + "_" * 4_000).test(ROW) is False
    assert bound("name like $1", "%" + "o_" * 16 + "%").test(ROW) is False


def test_claims_are_strict() -> None:
    assert bound("tenant_id = claim('t')", claims={"t": 7}).test(ROW) is True
    assert bound("name = claim('t')", claims={"t": "bob"}).test(ROW) is True
    for text, claim in (("tenant_id = claim('t')", "7"), ("name = claim('t')", 7), ("paid = claim('t')", "true")):
        with pytest.raises(InvalidInput) as caught:
            bound(text, claims={"t": claim})
        assert caught.value.code == "claim_type"
    with pytest.raises(ClaimMissing):
        bound("tenant_id = claim('t')", claims={})


@pytest.mark.parametrize(
    ("text", "column", "values"),
    [
        ("tenant_id = 7", "tenant_id", {7}),
        ("tenant_id = 7.0 and paid", "tenant_id", {7}),
        ("paid and id in (1, 2, null)", "id", {1, 2}),
        ("id = 1 or id = 2", "id", {1, 2}),
        ("7 = tenant_id", "tenant_id", {7}),
    ],
)
def test_an_equality_that_is_implied_is_the_key(text: str, column: str, values: set[object]) -> None:
    key = bound(text).key
    assert key is not None
    assert key.column == column
    assert set(key.values) == values


@pytest.mark.parametrize(
    "text", ["tenant_id > 7", "not tenant_id = 7", "id = 1 or tenant_id = 7", "id = 1 or paid", "id = tenant_id"]
)
def test_without_an_equality_there_is_no_key(text: str) -> None:
    assert bound(text).key is None
