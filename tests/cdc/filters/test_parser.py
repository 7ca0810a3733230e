"""What a filter may say, and what is refused by name."""

import pytest

from cdc.core.errors import InvalidInput
from cdc.core.row_filter.expression import (
    And,
    Between,
    Claim,
    Column,
    Compare,
    Constant,
    Field,
    In,
    IsNull,
    Like,
    Not,
    Or,
)
from cdc.filters.parser import parse_filter

A = Column("a")
ONE = Constant("number", "1")


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("a = 1", Compare("=", A, ONE)),
        ("A != 1", Compare("<>", A, ONE)),
        ('"A" >= -1.50', Compare(">=", Column("A"), Constant("number", "-1.50"))),
        ("a = 'it''s \\'", Compare("=", A, Constant("text", "it's \\"))),
        ("a not in (1, '1')", Not(In(A, (ONE, Constant("text", "1"))))),
        ("a between 1 and 1 or a is null", Or((Between(A, ONE, ONE), IsNull(A)))),
        ("not a = 1 and a is not null", And((Not(Compare("=", A, ONE)), Not(IsNull(A))))),
        ("a not like 'x%' escape '!'", Not(Like(A, Constant("text", "x%"), "!"))),
        ("a -> 'b' ->> 0 = '1'", Compare("=", Field("a", ("b", 0)), Constant("text", "1"))),
        ("a ->> '0' = '1'", Compare("=", Field("a", ("0",)), Constant("text", "1"))),
        ("a collate \"C\" < '1'", Compare("<", Column("a", has_byte_order=True), Constant("text", "1"))),
        ("a = '1'::int", Compare("=", A, Constant("text", "1", "int4"))),
        ("a = date '2026-11-30'", Compare("=", A, Constant("text", "2026-11-30", "date"))),
    ],
)
def test_a_filter_is_read_as_postgresql_reads_it(text: str, condition: object) -> None:
    assert parse_filter(text) == condition


def test_or_binds_less_than_and() -> None:
    parsed = parse_filter("a = 1 or a = 1 and a = 1")
    assert isinstance(parsed, Or)
    assert isinstance(parsed.parts[1], And)


def test_a_long_chain_needs_no_stack() -> None:
    parsed = parse_filter(" and ".join(["a = 1"] * 30))
    assert isinstance(parsed, And)
    assert len(parsed.parts) == 30


@pytest.mark.parametrize(
    "text",
    [
        "a = now()",
        "a = current_date",
        "a in (select 1)",
        "exists (select 1)",
        "a = (select 1)",
        "a = any (array[1])",
        "a = 1; delete from a",
        "a = b is null",
        "a = b = c",
        "a ~ 'x'",
        "a ilike 'x'",
        "a similar to 'x'",
        "a || 'x' = 'y'",
        "a + 1 = 2",
        "-a = 1",
        "t.a = 1",
        "a.*",
        "*",
        "a = 1 limit 1",
        "select 1",
        "a is distinct from 1",
        "a::text = 'x'",
        "a = 'x'::money",
        "a = 1::numeric(3, 1)",
        "a = e'x'",
        "a = b'1'",
        "a = x'1F'",
        "a = $$x$$",
        "a = $x",
        "a = ?",
        "a = :x",
        "(a, b) = (1, 2)",
        "case when a then b end",
        "a between symmetric 1 and 2",
        "a = 'a' 'b'",
        "a = 1_000",
        "a ->> $1 = 'x'",
        "a ->> 'x' -> 'y' = 'z'",
        "a = 'x' collate \"C\"",
        "a collate \"de_DE\" = 'x'",
        "a =",
        "a = 1 -- \0",
        "a = claim('x')",
        "pg_sleep(1) is null",
        "cast(a as text) = 'x'",
        "a in ()",
    ],
)
def test_whatever_else_sql_can_say_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_filter(text)


def test_claims_belong_to_rules() -> None:
    assert parse_filter("a = claim('b.c')", with_claims=True) == Compare("=", A, Claim("b.c"))
    with pytest.raises(InvalidInput):
        parse_filter("a = claim(b)", with_claims=True)


@pytest.mark.parametrize("text", ["(" * 3000 + "a" + ")" * 3000, "not " * 2000 + "a", "a=" + "-" * 3000 + "1"])
def test_depth_is_bounded(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_filter(text)


def test_nodes_are_bounded() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_filter(f"a in ({','.join(['1'] * 99)})")
    assert caught.value.code == "too_many_nodes"
    parse_filter(f"a in ({','.join(['1'] * 98)})")
